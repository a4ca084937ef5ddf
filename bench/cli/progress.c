// progress.c - a bar that redraws itself, or a plain line every ten seconds.
#include "bench/cli/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

enum { BAR_CELLS = 24 };

static const uint64_t begin_after_ns = 500000000, draw_every_ns = 100000000,
                      say_every_ns = 10000000000u;

void cli_progress_begin(struct progress *p, const char *verb, const char *name)
{
    *p = (struct progress){
        .verb = verb, .name = name, .terminal = isatty(STDERR_FILENO) == 1, .begin_ns = clock_ns()};
    p->last_ns = p->begin_ns;
    interrupt_begin(&p->interrupt);
}

// The remaining time at the current pace; -1 while too little is done for an estimate.
static long seconds_left(const struct progress *p, uint64_t now, double done)
{
    return done > 0.01 ? (long)((double)(now - p->begin_ns) / 1e9 * (1 - done) / done + 0.5) : -1;
}

static void draw(struct progress *p, double done, long left)
{
    char bar[BAR_CELLS + 1];
    int filled = (int)(done * BAR_CELLS);
    for (int i = 0; i < BAR_CELLS; i++)
        bar[i] = i < filled ? '#' : '.';
    bar[BAR_CELLS] = '\0';
    fprintf(stderr, "\r\033[K%s %.40s  [%s] %3.0f %%", p->verb, p->name, bar, 100 * done);
    if (left >= 0)
        fprintf(stderr, "  %ld:%02ld left", left / 60, left % 60);
    p->drawn = true;
    fflush(stderr);
}

static void show(struct progress *p, double done)
{
    uint64_t now = clock_ns();
    if (now - p->begin_ns < begin_after_ns ||
        now - p->last_ns < (p->terminal ? draw_every_ns : say_every_ns))
        return;
    p->last_ns = now;
    done = done < 0 ? 0 : done > 1 ? 1 : done;
    if (p->terminal)
        draw(p, done, seconds_left(p, now, done));
    else
        fprintf(stderr, "bench: %s %s: %.0f %%\n", p->verb, p->name, 100 * done);
}

bool cli_progress_update(void *progress, double done)
{
    show(progress, done);
    return !interrupt_pending();
}

bool cli_progress_calibrating(void *progress, double done)
{
    struct progress *p = progress;
    const char *verb = p->verb;
    p->verb = "calibrating";
    show(p, done);
    p->verb = verb;
    return !interrupt_pending();
}

bool cli_progress_end(struct progress *p)
{
    if (p->drawn)
        fputs("\r\033[K", stderr);
    p->drawn = false;
    fflush(stderr);
    interrupt_end(&p->interrupt);
    return !p->interrupt.arrived;
}

enum status cli_progress_finish(struct progress *p, struct error *err)
{
    if (!cli_progress_end(p))
        FAIL(err, ERR_INTERRUPTED, "stopped");
    return err->code;
}
