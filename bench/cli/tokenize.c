// tokenize.c - `bench model tokenize MODEL [TEXT]`: the ids of a text, or the text of ids.
//
// For comparing a model's tokenizer with another implementation, for seeing the cost of a prompt, and for timing.
// Nothing is added: no bos, no template.
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/plain.h"
#include "base/stat.h"
#include "base/str.h"
#include "bench/cli/checkpoint.h"
#include "bench/cli/command.h"
#include "bench/cli/values.h"
#include "bench/cli/view.h"

struct request {
    const struct tokenizer *tok;
    bool lines, decode, json;
    int64_t time; // repetitions, 0: none
};

static enum status read_input(struct str *out, struct error *err)
{
    char block[1 << 16];
    size_t got;
    while ((got = fread(block, 1, sizeof block, stdin)) > 0 && !ferror(stdin))
        str_append_bytes(out, block, got);
    if (ferror(stdin))
        return FAIL_OS(err, errno, "standard input");
    return out->failed ? FAIL(err, ERR_NOMEM, "no memory for standard input") : OK;
}

// ---- plain text -----------------------------------------------------------------------------------

// Prints one line of ids, separated by spaces.
static enum status print_ids(const struct request *r, const char *text, size_t bytes,
                             struct error *err)
{
    int32_t *ids = NULL;
    size_t count = 0;
    TRY(tokenizer_encode(r->tok, text, bytes, &ids, &count, err));
    for (size_t i = 0; i < count; i++)
        printf("%s%d", i ? " " : "", ids[i]);
    putchar('\n');
    free(ids);
    return OK;
}

static bool between_ids(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == ',';
}

// Parses the words of the input as ids.
static enum status parse_ids(const struct request *r, const char *text, size_t bytes, int32_t **out,
                             size_t *count, struct error *err)
{
    *count = 0;
    *out = malloc((bytes / 2 + 1) * sizeof **out);
    if (!*out)
        return FAIL(err, ERR_NOMEM, "no memory for the ids");
    for (size_t at = 0, end; at < bytes; at = end) {
        char word[24];
        int64_t id;
        for (end = at; end < bytes && !between_ids(text[end]); end++)
            ;
        if (end == at) {
            end++;
            continue;
        }
        snprintf(word, sizeof word, "%.*s", (int)(end - at > 23 ? 23 : end - at), text + at);
        if (!str_to_i64(word, &id) || id < 0 || id >= tokenizer_vocab(r->tok))
            return FAIL(err, ERR_USAGE, "%s: no id of this tokenizer (0 to %d)", word,
                        tokenizer_vocab(r->tok) - 1);
        (*out)[(*count)++] = (int32_t)id;
    }
    return OK;
}

static enum status print_text(const struct request *r, const char *text, size_t bytes,
                              struct error *err)
{
    struct str out = {0};
    int32_t *ids = NULL;
    size_t count;
    enum status status = parse_ids(r, text, bytes, &ids, &count, err);
    if (status == OK) {
        tokenizer_text(r->tok, ids, count, &out);
        str_append(&out, r->lines ? "\n" : "");
        status = out.failed ? FAIL(err, ERR_NOMEM, "no memory for the text") : OK;
    }
    if (status == OK)
        plain_write(stdout, str_text(&out), out.length);
    str_fini(&out);
    free(ids);
    return status;
}

// ---- JSON -----------------------------------------------------------------------------------------

static enum status json_out(json_t *value, struct error *err)
{
    size_t flags = JSON_COMPACT | JSON_ENCODE_ANY | cli_view_json_ascii(stdout);
    char *text = value ? json_dumps(value, flags) : NULL;
    json_decref(value);
    if (!text)
        return FAIL(err, ERR_NOMEM, "no memory for an answer");
    puts(text);
    free(text);
    return OK;
}

static enum status json_ids(const struct request *r, const json_t *value, struct error *err)
{
    int32_t *ids = NULL;
    size_t count = 0;
    json_t *out = json_array();
    if (!json_is_string(value)) {
        json_decref(out);
        return FAIL(err, ERR_FORMAT, "the input: a line is no JSON string");
    }
    enum status status = tokenizer_encode(r->tok, json_string_value(value),
                                          json_string_length(value), &ids, &count, err);
    for (size_t i = 0; i < count; i++)
        json_array_append_new(out, json_integer(ids[i]));
    free(ids);
    if (status == OK)
        return json_out(out, err);
    json_decref(out);
    return status;
}

static enum status json_text(const struct request *r, const json_t *value, struct error *err)
{
    struct str text = {0};
    size_t count = json_array_size(value);
    int32_t *ids = malloc((count + 1) * sizeof *ids);
    enum status status = ids ? OK : FAIL(err, ERR_NOMEM, "no memory for the ids");
    if (status == OK && !json_is_array(value))
        status = FAIL(err, ERR_FORMAT, "the input: a line is no JSON array");
    for (size_t i = 0; i < count && status == OK; i++) {
        json_int_t id = json_integer_value(json_array_get(value, i));
        if (!json_is_integer(json_array_get(value, i)) || id < 0 || id >= tokenizer_vocab(r->tok))
            status = FAIL(err, ERR_USAGE, "the input: no id of this tokenizer (0 to %d)",
                          tokenizer_vocab(r->tok) - 1);
        ids[i] = (int32_t)id;
    }
    if (status == OK) {
        tokenizer_text(r->tok, ids, count, &text);
        status = json_out(text.failed ? NULL : json_stringn(str_text(&text), text.length), err);
    }
    str_fini(&text);
    free(ids);
    return status;
}

static enum status print_json(const struct request *r, const char *text, size_t bytes,
                              struct error *err)
{
    json_error_t reason;
    json_t *value = json_loadb(text, bytes, JSON_DECODE_ANY | JSON_ALLOW_NUL, &reason);
    if (!value)
        return FAIL(err, ERR_FORMAT, "the input: a line is no JSON: %s", reason.text);
    enum status status = r->decode ? json_text(r, value, err) : json_ids(r, value, err);
    json_decref(value);
    return status;
}

// ---- time -----------------------------------------------------------------------------------------

static double processor_ns(void)
{
    struct timespec t = {0};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

// The first pass is reported separately, because it fills the cache of words. On a busy machine, processor time shows
// the tokenizer's own cost.
static enum status print_time(const struct request *r, const char *text, size_t bytes,
                              struct error *err)
{
    size_t count = 0, n = (size_t)r->time + 1;
    double *wall = calloc(2 * n, sizeof *wall), *cpu = wall + n; // MB/s
    enum status status = wall ? OK : FAIL(err, ERR_NOMEM, "no memory");
    for (size_t i = 0; i < n && status == OK; i++) {
        int32_t *ids;
        uint64_t begin_ns = clock_ns();
        double began_ns = processor_ns();
        status = tokenizer_encode(r->tok, text, bytes, &ids, &count, err);
        wall[i] = (double)bytes / (double)(clock_ns() - begin_ns + 1) * 1e3;
        cpu[i] = (double)bytes / (processor_ns() - began_ns + 1) * 1e3;
        if (status == OK)
            free(ids);
    }
    if (status == OK)
        printf("%zu bytes, %zu ids: first %.2f MB/s (%.2f of processor time), median of %zu more "
               "%.2f MB/s (%.2f)\n",
               bytes, count, wall[0], cpu[0], n - 1, stat_median(wall + 1, n - 1, err),
               stat_median(cpu + 1, n - 1, err));
    free(wall);
    return status;
}

// ---- the command ----------------------------------------------------------------------------------

typedef enum status answer(const struct request *r, const char *text, size_t bytes,
                           struct error *err);

static enum status answer_lines(const struct request *r, const char *text, size_t bytes,
                                answer *each, struct error *err)
{
    for (const char *end = text + bytes; text < end;) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        size_t length = newline ? (size_t)(newline - text) : (size_t)(end - text);
        TRY(each(r, text, length, err));
        text += length + (newline != NULL);
    }
    return OK;
}

static enum status tokenize(const struct arguments *args, const struct request *r,
                            struct error *err)
{
    struct str input = {0};
    enum status status = OK;
    answer *each = r->time ? print_time : r->json ? print_json : r->decode ? print_text : print_ids;
    if (cli_positional(args, 1))
        str_append(&input, cli_positional(args, 1));
    else
        status = read_input(&input, err);
    if (status == OK)
        status = (r->lines || r->json) && !r->time
                     ? answer_lines(r, str_text(&input), input.length, each, err)
                     : each(r, str_text(&input), input.length, err);
    str_fini(&input);
    return status;
}

// Finds a model's tokenizer, or a standalone one: a tokenizer.json or a .gguf file without tensors.
static enum status find_tokenizer(const char *name, struct tokenizer **out, struct error *err)
{
    struct checkpoint *ck = NULL;
    size_t n = strlen(name);
    if ((n > 5 && strcmp(name + n - 5, ".json") == 0) ||
        (n > 5 && strcmp(name + n - 5, ".gguf") == 0))
        return tokenizer_open(name, out, err);
    enum status status = cli_checkpoint_find(name, &ck, err);
    if (status == OK)
        status = checkpoint_tokenizer(ck, out, err);
    checkpoint_destroy(ck);
    return status;
}

static enum exit_code tokenize_run(const struct arguments *args, struct error *err)
{
    struct tokenizer *tok = NULL;
    struct request r = {.lines = cli_flag_bool(args, "lines"),
                        .decode = cli_flag_bool(args, "decode"),
                        .json = cli_flag_bool(args, "json"),
                        .time = cli_flag_int(args, "time")};
    if (r.time < 0 || r.time > 1000)
        FAIL(err, ERR_USAGE, "--time: 1 to 1000 repetitions");
    else if (r.time && (r.decode || r.json || r.lines))
        FAIL(err, ERR_USAGE, "--time goes with none of --lines, --decode and --json");
    else if (find_tokenizer(cli_positional(args, 0), &tok, err) == OK) {
        r.tok = tok;
        tokenize(args, &r, err);
    }
    tokenizer_destroy(tok);
    return cli_exit_code(err);
}

static const struct flag flags[] = {
    {"lines", 0, FLAG_BOOL, NULL, NULL, "each line of the input is a separate text"},
    {"decode", 0, FLAG_BOOL, NULL, NULL, "the input is ids; print their text"},
    {"json", 0, FLAG_BOOL, NULL, NULL, "lines are JSON: a string a text, an array a list of ids"},
    {"time", 0, FLAG_INT, "N", NULL, "encode the input N times more; print MB/s, not ids"},
    {0},
};

const struct command command_model_tokenize = {
    .name = "model tokenize",
    .positional = "MODEL [TEXT]",
    .min_positional = 1,
    .max_positional = 2,
    .accepts = {&cli_values_model_file},
    .summary = "print the ids of a text, or the text of ids",
    .details =
        "MODEL may also be a tokenizer.json, or a .gguf file without tensors. Without TEXT the "
        "input is read from standard input. No bos is added.",
    .flags = flags,
    .run = tokenize_run,
};
