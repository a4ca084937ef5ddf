// args.c - parses command lines. Every flag is a row, so nothing is parsed twice.
#include "bench/cli/args.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

const struct flag cli_common_flags[] = {
    {"help", 'h', FLAG_BOOL, NULL, NULL, "print this help"},
    {"verbose", 'v', FLAG_BOOL, NULL, NULL, "print more, and the source line of an error"},
    {0},
};

const struct flag cli_program_flags[] = {
    {"help", 'h', FLAG_BOOL, NULL, NULL, "print the commands"},
    {"version", 0, FLAG_BOOL, NULL, NULL, "print the version"},
    {0},
};

enum { FLAGS_MAX = 32 };

struct flag_value {
    const struct flag *flag;
    bool given;
    const char *text; // as given, or the fallback
    int64_t integer;
    double real;
    const char **list;
    size_t list_count;
};

struct arguments {
    struct flag_value values[FLAGS_MAX];
    size_t value_count;
    const char **positional;
    size_t positional_count;
    int argc; // capacity of every list
};

// ---- the table of commands ------------------------------------------------------------------------

const struct command *const *cli_shown(const struct command *const *at)
{
    while (*at && (*at)->hidden)
        at++;
    return at;
}

const char *cli_second_word(const struct command *command, const char *group)
{
    size_t length = strlen(group);
    bool of_group = strncmp(command->name, group, length) == 0 && command->name[length] == ' ';
    return of_group ? command->name + length + 1 : NULL;
}

void cli_groups(struct arena *arena, struct words *out)
{
    for (const struct command *const *c = cli_shown(cli_commands); *c; c = cli_shown(c + 1)) {
        char *group = strchr((*c)->name, ' ') ? arena_strdup(arena, (*c)->name) : NULL;
        if (!group)
            continue;
        *strchr(group, ' ') = '\0';
        words_add_new(out, group);
    }
}

// ---- which command ------------------------------------------------------------------------------

// The number of words of `name` ("model info") if argv begins with exactly these, else 0.
static int words_matching(const char *name, int argc, char *const *argv)
{
    const char *space = strchr(name, ' ');
    if (!space)
        return strcmp(argv[0], name) == 0 ? 1 : 0;
    size_t first = (size_t)(space - name);
    bool match = strlen(argv[0]) == first && strncmp(argv[0], name, first) == 0 && argc > 1 &&
                 strcmp(argv[1], space + 1) == 0;
    return match ? 2 : 0;
}

// `word` is a command's first word: "info", "tokenize", "logits" of "model".
static enum status unknown_of_group(const char *word, const char *second,
                                    const struct words *seconds, struct error *err)
{
    char known[WORDS_HINT_BYTES];
    if (second)
        return FAIL(err, ERR_USAGE, "unknown command '%s %s'%s", word, second,
                    words_hint(second, seconds->items, seconds->count, known, sizeof known));
    return FAIL(err, ERR_USAGE, "'%s' needs a second word%s", word,
                words_list(seconds->items, seconds->count, known, sizeof known));
}

// `bench --verison`: a flag where a command is expected.
static enum status unknown_program_flag(const char *word, struct error *err)
{
    struct words known = {0};
    char names[FLAGS_MAX][40], near[WORDS_HINT_BYTES];
    for (const struct flag *f = cli_program_flags; f->name && known.count < FLAGS_MAX; f++) {
        char *name = names[known.count];
        snprintf(name, sizeof names[0], "--%s", f->name);
        words_add(&known, name);
    }
    bool is_near =
        strlen(word) > 2 && words_near(word, known.items, known.count, near, sizeof near);
    return FAIL(err, ERR_USAGE, "unknown flag '%s'%s", word,
                is_near ? near : ": a command is expected first (see bench --help)");
}

static enum status unknown_command(const char *word, const char *second, struct error *err)
{
    if (word[0] == '-')
        return unknown_program_flag(word, err);
    struct arena arena = {0};
    struct words known = {0}, seconds = {0};
    char near[WORDS_HINT_BYTES];
    for (const struct command *const *c = cli_shown(cli_commands); *c; c = cli_shown(c + 1)) {
        const char *of_group = cli_second_word(*c, word);
        words_add(&known, (*c)->name);
        if (of_group)
            words_add(&seconds, of_group);
    }
    if (seconds.count)
        return unknown_of_group(word, second, &seconds, err);
    cli_groups(&arena, &known);
    bool is_near = words_near(word, known.items, known.count, near, sizeof near);
    arena_fini(&arena);
    return FAIL(err, ERR_USAGE, "unknown command '%s'%s", word,
                is_near ? near : " (see bench --help)");
}

const struct command *command_find(int argc, char *const *argv, int *words, struct error *err)
{
    assert(argc > 1);
    for (const struct command *const *c = cli_commands; *c; c++) {
        int taken = words_matching((*c)->name, argc - 1, argv + 1);
        if (taken) {
            *words = 1 + taken;
            return *c;
        }
    }
    unknown_command(argv[1], argc > 2 ? argv[2] : NULL, err);
    return NULL;
}

// ---- parsing ------------------------------------------------------------------------------------

static void add_flags(struct arguments *args, const struct flag *flags)
{
    for (; flags && flags->name; flags++) {
        assert(args->value_count < FLAGS_MAX);
        struct flag_value *value = &args->values[args->value_count++];
        value->flag = flags;
        value->text = flags->fallback;
        if (!flags->fallback)
            continue;
        bool good = true;
        if (flags->type == FLAG_INT)
            good = str_to_i64(flags->fallback, &value->integer);
        else if (flags->type == FLAG_FLOAT)
            good = str_to_f64(flags->fallback, &value->real);
        assert(good && "a row's own fallback must parse");
        (void)good;
    }
}

static struct flag_value *find_long(struct arguments *args, const char *name, size_t length)
{
    for (size_t i = 0; i < args->value_count; i++) {
        const char *known = args->values[i].flag->name;
        if (strlen(known) == length && strncmp(known, name, length) == 0)
            return &args->values[i];
    }
    return NULL;
}

static struct flag_value *find_letter(struct arguments *args, char letter)
{
    for (size_t i = 0; i < args->value_count; i++)
        if (args->values[i].flag->letter == letter)
            return &args->values[i];
    return NULL;
}

static enum status unknown_flag(const struct command *command, const struct arguments *args,
                                const char *word, struct error *err)
{
    struct words known = {0};
    char names[FLAGS_MAX][40], near[WORDS_HINT_BYTES], name[64];
    for (size_t i = 0; i < args->value_count; i++) {
        snprintf(names[i], sizeof names[i], "--%s", args->values[i].flag->name);
        words_add(&known, names[i]);
    }
    int length = (int)strcspn(word, "=");
    snprintf(name, sizeof name, "%.*s", length, word);
    if (str_starts(name, "--") && name[2] &&
        words_near(name, known.items, known.count, near, sizeof near))
        return FAIL(err, ERR_USAGE, "%s: unknown flag '%s'%s", command->name, name, near);
    return FAIL(err, ERR_USAGE, "%s: unknown flag '%s' (see bench %s --help)", command->name, name,
                command->name);
}

static enum status set_value(const struct command *command, struct arguments *args,
                             struct flag_value *value, const char *text, struct error *err)
{
    const char *name = value->flag->name;
    if (value->given && value->flag->type != FLAG_LIST && value->flag->type != FLAG_BOOL)
        return FAIL(err, ERR_USAGE, "%s: --%s given twice", command->name, name);
    value->given = true;
    value->text = text;
    switch (value->flag->type) {
    case FLAG_INT:
        if (!str_to_i64(text, &value->integer))
            return FAIL(err, ERR_USAGE, "%s: --%s: '%s' is not a whole number", command->name, name,
                        text);
        break;
    case FLAG_FLOAT:
        if (!str_to_f64(text, &value->real))
            return FAIL(err, ERR_USAGE, "%s: --%s: '%s' is not a number", command->name, name,
                        text);
        break;
    case FLAG_LIST:
        if (!value->list)
            value->list = calloc((size_t)args->argc, sizeof *value->list);
        if (!value->list)
            return FAIL(err, ERR_NOMEM, "no memory for the command line");
        value->list[value->list_count++] = text;
        break;
    case FLAG_BOOL:
    case FLAG_STRING:
        break;
    }
    return OK;
}

// Parses one flag at argv[*i], and its value if it takes one: "--db FILE", "--db=FILE", "-o FILE", "-oFILE".
static enum status parse_flag(const struct command *command, struct arguments *args, int argc,
                              char *const *argv, int *i, struct error *err)
{
    const char *word = argv[*i], *text = NULL;
    struct flag_value *value;
    if (word[1] == '-') {
        size_t length = strcspn(word + 2, "=");
        value = find_long(args, word + 2, length);
        text = word[2 + length] == '=' ? word + 2 + length + 1 : NULL;
    } else {
        value = find_letter(args, word[1]);
        text = word[2] ? word + 2 : NULL;
    }
    if (!value)
        return unknown_flag(command, args, word, err);
    if (value->flag->type == FLAG_BOOL) {
        if (text)
            return FAIL(err, ERR_USAGE, "%s: --%s takes no value", command->name,
                        value->flag->name);
        return set_value(command, args, value, NULL, err);
    }
    if (!text) {
        if (*i + 1 >= argc)
            return FAIL(err, ERR_USAGE, "%s: --%s needs a value: %s", command->name,
                        value->flag->name, value->flag->value);
        text = argv[++*i];
    }
    return set_value(command, args, value, text, err);
}

static enum status check_positional(const struct command *command, const struct arguments *args,
                                    struct error *err)
{
    int count = (int)args->positional_count;
    if (cli_flag_bool(args, "help"))
        return OK;
    if (count < command->min_positional)
        return FAIL(err, ERR_USAGE, "%s: %s expected (usage: bench %s %s)", command->name,
                    command->positional, command->name, command->positional);
    if (count > command->max_positional)
        return FAIL(err, ERR_USAGE, "%s: unexpected '%s' (usage: bench %s%s%s)", command->name,
                    args->positional[command->max_positional], command->name,
                    command->positional ? " " : "", command->positional ? command->positional : "");
    return OK;
}

enum status cli_arguments_parse(const struct command *command, int argc, char *const *argv,
                                struct arguments **out, struct error *err)
{
    struct arguments *args = calloc(1, sizeof *args);
    const char **words = calloc((size_t)argc + 1, sizeof *words);
    if (!args || !words) {
        free(args);
        free(words);
        return FAIL(err, ERR_NOMEM, "no memory for the command line");
    }
    args->positional = words;
    args->argc = argc;
    add_flags(args, command->flags);
    add_flags(args, cli_common_flags);
    bool flags_over = false;
    for (int i = 0; i < argc && err->code == OK; i++) {
        if (!flags_over && strcmp(argv[i], "--") == 0)
            flags_over = true;
        else if (!flags_over && argv[i][0] == '-' && argv[i][1])
            parse_flag(command, args, argc, argv, &i, err);
        else
            args->positional[args->positional_count++] = argv[i];
    }
    if (err->code == OK)
        check_positional(command, args, err);
    if (err->code != OK) {
        cli_arguments_destroy(args);
        return err->code;
    }
    *out = args;
    return OK;
}

void cli_arguments_destroy(struct arguments *args)
{
    if (!args)
        return;
    for (size_t i = 0; i < args->value_count; i++)
        free(args->values[i].list);
    free(args->positional);
    free(args);
}

// ---- queries of commands --------------------------------------------------------------------------

static const struct flag_value *value_of(const struct arguments *args, const char *name)
{
    for (size_t i = 0; i < args->value_count; i++)
        if (strcmp(args->values[i].flag->name, name) == 0)
            return &args->values[i];
    assert(!"a flag that is no row of this command");
    return NULL;
}

bool cli_flag_given(const struct arguments *args, const char *name)
{
    return value_of(args, name)->given;
}

bool cli_flag_bool(const struct arguments *args, const char *name)
{
    return value_of(args, name)->given;
}

const char *cli_flag_string(const struct arguments *args, const char *name)
{
    return value_of(args, name)->text;
}

int64_t cli_flag_int(const struct arguments *args, const char *name)
{
    return value_of(args, name)->integer;
}

double cli_flag_float(const struct arguments *args, const char *name)
{
    return value_of(args, name)->real;
}

size_t cli_flag_list(const struct arguments *args, const char *name, const char *const **values)
{
    const struct flag_value *value = value_of(args, name);
    *values = value->list;
    return value->list_count;
}

size_t cli_positional_count(const struct arguments *args)
{
    return args->positional_count;
}

const char *cli_positional(const struct arguments *args, size_t i)
{
    return i < args->positional_count ? args->positional[i] : NULL;
}

enum exit_code cli_exit_code(const struct error *err)
{
    return err->code == OK                ? EXIT_FINE
           : err->code == ERR_INTERRUPTED ? EXIT_INTERRUPTED
                                          : EXIT_ERROR;
}
