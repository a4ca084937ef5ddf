// child.c - starts a worker with posix_spawn, polls it, and describes how it died.
#include "bench/run/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/os.h"
#include "base/str.h"
#include "bench/protocol/protocol.h"

extern char **environ;

enum {
    LAST_WORDS_BYTES = 2048,
    LOOK_AROUND_MS = 100, // the longest time that a signal to the runner stays unnoticed
    GRACE_NS = 2000000000,
};
// In a gap between two checks that is longer than the first limit, a worker could not run. A gap longer than the second
// is a stop.
static const uint64_t look_most_ns = 1000000000, stop_least_ns = 1500000000;

struct child {
    pid_t pid;
    int events, errors;    // descriptors read from, -1: closed
    struct str buffer;     // events received
    size_t used, searched; // offsets: lines handed out; searched for a newline
    bool too_long;
    char last_words[LAST_WORDS_BYTES]; // the end of its output
    size_t last_words_length;
    int64_t oom_kills; // the kernel's count when the worker started
    struct clock_awake awake;
    uint64_t stops_ns;      // the part of awake.lost_ns in stops, not yet reported
    uint64_t drained_after; // the deadline after which all output was read
};

// ---- start -----------------------------------------------------------------------------------------------

static enum status pipe_make(int ends[2], struct error *err)
{
    if (pipe(ends) != 0)
        return FAIL_OS(err, errno, "a pipe");
    for (int i = 0; i < 2; i++)
        fcntl(ends[i], F_SETFD, FD_CLOEXEC);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    return OK;
}

static char **arguments_make(const char *const *argv)
{
    size_t count = 0;
    while (argv[count])
        count++;
    char **full = calloc(count + 3, sizeof *full);
    for (size_t i = 0; full && i < count; i++)
        full[i] = (char *)argv[i];
    if (full) {
        full[count] = (char *)"--events";
        full[count + 1] = (char *)"3";
    }
    return full;
}

// Puts the child into a new process group and resets its signals.
static void attributes_make(posix_spawnattr_t *attributes)
{
    sigset_t none, standard;
    sigemptyset(&none);
    interrupt_set(&standard);
    sigaddset(&standard, SIGPIPE);
    posix_spawnattr_init(attributes);
    posix_spawnattr_setsigmask(attributes, &none);
    posix_spawnattr_setsigdefault(attributes, &standard);
    posix_spawnattr_setpgroup(attributes, 0);
    posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                             POSIX_SPAWN_SETPGROUP);
}

static enum status spawn(struct child *child, const char *const *argv, int input, int events,
                         int errors, struct error *err)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    char **arguments = arguments_make(argv);
    if (!arguments)
        return FAIL(err, ERR_NOMEM, "starting a worker");
    attributes_make(&attributes);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, errors, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO);
    posix_spawn_file_actions_adddup2(&actions, events, PROTOCOL_EVENTS_FD);
    int failed = posix_spawn(&child->pid, argv[0], &actions, &attributes, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    free(arguments);
    return failed ? FAIL_OS(err, failed, "starting a worker: %s", argv[0]) : OK;
}

enum status child_start(const char *const *argv, const char *job, struct child **out,
                        struct error *err)
{
    int events[2] = {-1, -1}, errors[2] = {-1, -1};
    int input = -1; // a file, so that the worker can read it at any time
    *out = NULL;
    struct child *child = calloc(1, sizeof *child);
    if (!child)
        return FAIL(err, ERR_NOMEM, "starting a worker");
    child->oom_kills = os_oom_kill_count();
    child_clock_ns(child);
    if (pipe_make(events, err) == OK && pipe_make(errors, err) == OK &&
        file_unnamed(job, strlen(job), &input, err) == OK)
        spawn(child, argv, input, events[1], errors[1], err);
    else
        error_context(err, "starting a worker");
    if (input >= 0)
        close(input);
    for (int i = 0; i < 2; i++)
        if ((i ? errors : events)[1] >= 0)
            close((i ? errors : events)[1]);
    child->events = events[0];
    child->errors = errors[0];
    if (err->code == OK) {
        *out = child;
        return OK;
    }
    if (events[0] >= 0)
        close(events[0]);
    if (errors[0] >= 0)
        close(errors[0]);
    free(child);
    return err->code;
}

// ---- listening ---------------------------------------------------------------------------------------------

static void remember_words(struct child *child, const char *bytes, size_t count)
{
    size_t room = sizeof child->last_words;
    if (count > room) {
        bytes += count - room;
        count = room;
    }
    size_t keep = child->last_words_length;
    if (keep > room - count)
        keep = room - count;
    memmove(child->last_words, child->last_words + child->last_words_length - keep, keep);
    memcpy(child->last_words + keep, bytes, count);
    child->last_words_length = keep + count;
}

// Reads the available bytes. Closes the descriptor at its end.
static void drain(struct child *child, int *fd, bool events)
{
    char block[65536];
    ssize_t count;
    while (*fd >= 0 && (count = read(*fd, block, sizeof block)) != 0) {
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && errno == EAGAIN)
            return;
        if (count < 0)
            break;
        if (!events)
            remember_words(child, block, (size_t)count);
        else
            str_append_bytes(&child->buffer, block, (size_t)count);
        if (child->buffer.length - child->used > PROTOCOL_LINE_MAX) {
            child->too_long = true;
            return;
        }
    }
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

// Takes a line that has been read or, at the end, an incomplete last line.
static bool take_line(struct child *child, const char **line, size_t *length)
{
    struct str *b = &child->buffer;
    size_t from = child->used > child->searched ? child->used : child->searched;
    const char *end = b->data ? memchr(b->data + from, '\n', b->length - from) : NULL;
    if (!end && (child->events >= 0 || b->length == child->used)) {
        child->searched = b->length;
        return false;
    }
    *line = b->data + child->used;
    *length = (end ? (size_t)(end - b->data) : b->length) - child->used;
    child->used += *length + (end ? 1 : 0);
    return true;
}

// Moves the bytes not yet handed out to the front, before more is read.
static void compact(struct child *child)
{
    struct str *b = &child->buffer;
    if (child->used == 0)
        return;
    memmove(b->data, b->data + child->used, b->length - child->used);
    b->length -= child->used;
    child->searched = child->searched > child->used ? child->searched - child->used : 0;
    child->used = 0;
}

uint64_t child_clock_ns(struct child *child)
{
    uint64_t now = clock_ns(), before = child->awake.last_ns;
    if (before && now - before > stop_least_ns)
        child->stops_ns += now - before;
    return clock_awake_look(&child->awake, now, look_most_ns);
}

uint64_t child_take_stopped_ns(struct child *child)
{
    uint64_t stopped = child->stops_ns;
    child->stops_ns = 0;
    return stopped;
}

// Stops the worker, then this process; returns when this process is continued.
static void stop_together(struct child *child)
{
    kill(-child->pid, SIGSTOP);
    child_clock_ns(child);
    raise(SIGSTOP);
    child->stops_ns += clock_awake_skip(&child->awake, clock_ns());
    child->stops_ns += 1; // however short, the stop distorts the worker's figures
    kill(-child->pid, SIGCONT);
}

static void wait_and_read(struct child *child, int wait_ms)
{
    struct pollfd fds[] = {{.fd = child->events, .events = POLLIN},
                           {.fd = child->errors, .events = POLLIN}};
    poll(fds, 2, wait_ms);
    compact(child);
    drain(child, &child->events, true);
    drain(child, &child->errors, false);
}

enum child_news child_next(struct child *child, uint64_t deadline_ns, const char **line,
                           size_t *length)
{
    for (bool waited = false;; waited = true) {
        if (interrupt_take_stop())
            stop_together(child);
        bool late = child_clock_ns(child) >= deadline_ns;
        if (take_line(child, line, length))
            return CHILD_LINE;
        if (child->too_long || child->buffer.failed)
            return CHILD_TOO_LONG;
        if (child->events < 0)
            return CHILD_CLOSED;
        if (interrupt_pending())
            return CHILD_INTERRUPTED;
        if (late && child->drained_after == deadline_ns)
            return CHILD_TIMEOUT;
        if (waited && !late)
            return CHILD_QUIET;
        if (late)
            child->drained_after = deadline_ns;
        wait_and_read(child, late ? 0 : LOOK_AROUND_MS);
    }
}

// ---- the end -----------------------------------------------------------------------------------------------

static bool wait_for(pid_t pid, uint64_t limit_ns, int *status)
{
    uint64_t deadline_ns = clock_ns() + limit_ns;
    struct timespec nap = {.tv_nsec = 1000000};
    for (;;) {
        pid_t got = waitpid(pid, status, limit_ns == UINT64_MAX ? 0 : WNOHANG);
        if (got == pid)
            return true;
        if (got < 0 && errno != EINTR) { // already reaped elsewhere
            *status = 0;
            return true;
        }
        if (limit_ns != UINT64_MAX && clock_ns() >= deadline_ns)
            return false;
        nanosleep(&nap, NULL);
    }
}

static const char *signal_word(int signal)
{
    switch (signal) {
    case SIGSEGV:
        return "SIGSEGV";
    case SIGBUS:
        return "SIGBUS";
    case SIGILL:
        return "SIGILL";
    case SIGFPE:
        return "SIGFPE";
    case SIGABRT:
        return "SIGABRT";
    case SIGKILL:
        return "SIGKILL";
    case SIGTERM:
        return "SIGTERM";
    case SIGXCPU:
        return "SIGXCPU";
    default:
        return "signal";
    }
}

// The last line that it printed, made safe for our own line.
static void last_line(struct child *child, char *out, size_t out_bytes)
{
    size_t end = child->last_words_length, from;
    while (end > 0 && child->last_words[end - 1] == '\n')
        end--;
    for (from = end; from > 0 && child->last_words[from - 1] != '\n'; from--)
        ;
    size_t count = end - from < out_bytes - 1 ? end - from : out_bytes - 1;
    for (size_t i = 0; i < count; i++) {
        unsigned char c = (unsigned char)child->last_words[from + i];
        out[i] = c >= ' ' && c < 127 ? (char)c : '?';
    }
    out[count] = '\0';
}

static void explain(struct child *child, int status, struct child_end *out)
{
    char printed[256];
    last_line(child, printed, sizeof printed);
    const char *before = printed[0] ? "; its last words: " : "";
    out->exited_well = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    out->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (!out->signal) {
        snprintf(out->words, sizeof out->words, "ended with status %d%s%s", WEXITSTATUS(status),
                 before, printed);
        return;
    }
    int64_t kills = os_oom_kill_count();
    bool counted = kills != OS_UNKNOWN && child->oom_kills != OS_UNKNOWN;
    out->out_of_memory = out->signal == SIGKILL && counted && kills > child->oom_kills;
    const char *note = "";
    if (out->out_of_memory)
        note = "; the kernel says it was out of memory";
    else if (out->signal == SIGKILL)
        note = counted ? "; the kernel counts no kill for lack of memory"
                       : "; the kernel does not report whether memory ran out";
    snprintf(out->words, sizeof out->words, "killed by %s (%s)%s%s%s", signal_word(out->signal),
             strsignal(out->signal), note, before, printed);
}

void child_end(struct child *child, enum child_stop how, struct child_end *out)
{
    int status = 0;
    *out = (struct child_end){0};
    bool ended = wait_for(child->pid, how == CHILD_STOP_GENTLY ? GRACE_NS : 0, &status);
    if (!ended && how != CHILD_STOP_NOW) {
        kill(child->pid, SIGTERM);
        ended = wait_for(child->pid, GRACE_NS, &status);
    }
    if (!ended) {
        kill(child->pid, SIGKILL);
        wait_for(child->pid, UINT64_MAX, &status);
    }
    drain(child, &child->errors, false);
    explain(child, status, out);
    if (child->events >= 0)
        close(child->events);
    if (child->errors >= 0)
        close(child->errors);
    str_fini(&child->buffer);
    free(child);
}
