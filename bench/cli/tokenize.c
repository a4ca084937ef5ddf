// tokenize.c - `bench model tokenize MODEL [TEXT]`: the ids of a text, or the text of ids.
//
// To hold a model's tokenizer against another implementation, or to see what a prompt costs. Nothing is
// added: no bos, no template.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "bench/cli/checkpoint.h"
#include "bench/cli/command.h"

static enum status read_input(struct str *out, struct error *err)
{
    char block[1 << 16];
    size_t got;
    while ((got = fread(block, 1, sizeof block, stdin)) > 0)
        str_append_bytes(out, block, got);
    if (ferror(stdin))
        return FAIL(err, ERR_IO, "standard input: %s", strerror(errno));
    return out->failed ? FAIL(err, ERR_NOMEM, "no memory for standard input") : OK;
}

// One line of ids, spaces between.
static enum status print_ids(const struct tokenizer *tok, const char *text, size_t bytes,
                             struct error *err)
{
    int32_t *ids = NULL;
    size_t count = 0;
    TRY(tokenizer_encode(tok, text, bytes, &ids, &count, err));
    for (size_t i = 0; i < count; i++)
        printf("%s%d", i ? " " : "", ids[i]);
    putchar('\n');
    free(ids);
    return OK;
}

static enum status print_lines(const struct tokenizer *tok, const char *text, size_t bytes,
                               struct error *err)
{
    for (const char *end = text + bytes; text < end;) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        size_t length = newline ? (size_t)(newline - text) : (size_t)(end - text);
        TRY(print_ids(tok, text, length, err));
        text += length + (newline != NULL);
    }
    return OK;
}

// Words of the input are ids; their bytes go out as they are.
static enum status print_text(const struct tokenizer *tok, char *words, struct error *err)
{
    struct str text = {0};
    char *rest = NULL;
    for (char *word = strtok_r(words, " \t\n,", &rest); word && err->code == OK;
         word = strtok_r(NULL, " \t\n,", &rest)) {
        int64_t id;
        if (!str_to_i64(word, &id) || id < 0 || id >= tokenizer_vocab(tok))
            FAIL(err, ERR_USAGE, "%s: no id of this tokenizer (0 to %d)", word,
                 tokenizer_vocab(tok) - 1);
        else
            tokenizer_decode(tok, (int32_t)id, &text);
    }
    if (text.failed)
        FAIL(err, ERR_NOMEM, "no memory for the text");
    if (err->code == OK)
        fwrite(str_text(&text), 1, text.length, stdout);
    str_fini(&text);
    return err->code;
}

static enum status tokenize(const struct arguments *args, const struct tokenizer *tok,
                            struct error *err)
{
    struct str input = {0};
    enum status status = OK;
    if (positional(args, 1))
        str_append(&input, positional(args, 1));
    else
        status = read_input(&input, err);
    if (status == OK && flag_bool(args, "decode")) {
        char *words = str_take(&input);
        status = words ? print_text(tok, words, err) : FAIL(err, ERR_NOMEM, "no memory");
        free(words);
    } else if (status == OK) {
        status = flag_bool(args, "lines") ? print_lines(tok, str_text(&input), input.length, err)
                                          : print_ids(tok, str_text(&input), input.length, err);
    }
    str_fini(&input);
    return status;
}

static enum exit_code tokenize_run(const struct arguments *args, struct error *err)
{
    struct checkpoint *ck = NULL;
    struct tokenizer *tok = NULL;
    if (checkpoint_find(positional(args, 0), &ck, err) == OK &&
        checkpoint_tokenizer(ck, &tok, err) == OK) {
        if (tok)
            tokenize(args, tok, err);
        else
            FAIL(err, ERR_UNSUPPORTED, "%s: has no tokenizer", positional(args, 0));
    }
    tokenizer_destroy(tok);
    checkpoint_destroy(ck);
    return err->code == OK ? EXIT_FINE : EXIT_ERROR;
}

static const struct flag flags[] = {
    {"lines", 0, FLAG_BOOL, NULL, NULL, "each line of the input is a text of its own"},
    {"decode", 0, FLAG_BOOL, NULL, NULL, "the input is ids; print their text"},
    {0},
};

const struct command command_model_tokenize = {
    .name = "model tokenize",
    .positional = "MODEL [TEXT]",
    .min_positional = 1,
    .max_positional = 2,
    .summary = "print the ids of a text, or the text of ids",
    .details = "Without TEXT the input is read from standard input. No bos is added.",
    .flags = flags,
    .run = tokenize_run,
};
