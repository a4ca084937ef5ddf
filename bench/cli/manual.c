// manual.c - the manual page bench(1), from the tables of commands, flags and exit codes.
//
// Files, environment and examples have their only place here. The macros are those of man(7), which groff and mandoc
// both read.
#include "bench/cli/manual.h"

#include <string.h>

#include "base/str.h"
#include "bench/cli/args.h"
#include "bench/cli/version.h"

struct entry {
    const char *term, *text;
};

static const struct entry files[] = {
    {"~/.config/ridge/bench.conf",
     "Settings of this user: the store, defaults of every sweep, formats of reports. Without it, "
     "bench.conf in the program's own folder is read."},
    {"~/.local/share/ridge/bench.db", "The store: an SQLite database of every run."},
    {"~/.cache/ridge/", "Weights that were packed or calibrated once. It may be removed."},
    {"PREFIX/share/ridge/",
     "The program's own files: suites, shapes, the reference model. They are found from any "
     "working directory."},
    {0},
};

static const struct entry environment[] = {
    {"XDG_CONFIG_HOME", "The folder instead of ~/.config, if it is an absolute path."},
    {"XDG_DATA_HOME", "The folder instead of ~/.local/share, if it is an absolute path."},
    {"XDG_CACHE_HOME", "The folder instead of ~/.cache, if it is an absolute path."},
    {"HOME", "The user's folder."},
    {"TMPDIR", "The folder of temporary files, if it is an absolute path (default: /tmp)."},
    {"PATH", "Where gnuplot and other programs are looked for."},
    {"COLUMNS", "The width that help and tables are wrapped to on a terminal."},
    {0},
};

static const struct entry examples[] = {
    {"bench machine", "Show this machine and its measured ceilings."},
    {"bench run suites/smoke.conf --dry-run", "Show what a suite would measure, and for how long."},
    {"bench run suites/smoke.conf --set defaults.procs=1", "Measure it, with one trial per cell."},
    {"bench report -o report-out", "Write the last run as a page with pictures."},
    {"bench profile models/reference --scheme int8", "Show where the time of one cell goes."},
    {"bench export last --format csv", "Print the figures of the last run for another program."},
    {"bench kernel check 'k_gemm_*'", "Prove the matrix products that this machine can run."},
    {0},
};

// One character of roff: a dash is a minus sign, quotes and accents stay what they are.
static void append_roff(struct str *out, char c)
{
    static const struct {
        char c;
        const char *text;
    } escapes[] = {{'-', "\\-"},   {'\\', "\\e"},  {'`', "\\(ga"}, {'\'', "\\(aq"},
                   {'~', "\\(ti"}, {'^', "\\(ha"}, {'"', "\\(dq"}};
    for (size_t i = 0; i < sizeof escapes / sizeof *escapes; i++)
        if (escapes[i].c == c) {
            str_append(out, escapes[i].text);
            return;
        }
    str_append_bytes(out, &c, 1);
}

static void write_text(const char *text, FILE *out)
{
    struct str roff = {0};
    for (; *text; text++)
        append_roff(&roff, *text);
    fputs(str_text(&roff), out);
    str_fini(&roff);
}

// Text that roff fills, in short lines. A line that begins with a full stop would be a macro, so none does.
static void write_filled(const char *text, FILE *out)
{
    enum { WIDTH = 78 };
    size_t column = 0;
    for (text += strspn(text, " \n"); *text; text += strspn(text, " \n")) {
        struct str word = {0};
        if (*text == '.')
            str_append(&word, "\\&");
        for (; *text && *text != ' ' && *text != '\n'; text++)
            append_roff(&word, *text);
        bool breaks = column && column + 1 + word.length > WIDTH;
        fprintf(out, "%s%s", column == 0 ? "" : breaks ? "\n" : " ", str_text(&word));
        column = (breaks || column == 0 ? 0 : column + 1) + word.length;
        str_fini(&word);
    }
    fputc('\n', out);
}

// The details of help. A line that begins with two blanks is an item, and keeps its columns.
static void write_details(const char *text, FILE *out)
{
    bool items = false;
    struct str filled = {0};
    fputs(".PP\n", out);
    while (*text) {
        size_t bytes = strcspn(text, "\n");
        bool item = str_starts(text, "  ");
        struct str line = {0};
        str_append_bytes(&line, text, bytes);
        if (item && filled.length)
            write_filled(str_text(&filled), out);
        if (item)
            str_fini(&filled);
        if (item != items)
            fputs(item ? ".PP\n.nf\n" : ".fi\n.PP\n", out);
        items = item;
        if (item) {
            write_text(str_text(&line), out);
            fputc('\n', out);
        } else {
            str_printf(&filled, "%s ", str_text(&line));
        }
        str_fini(&line);
        text += bytes + (text[bytes] == '\n');
    }
    if (filled.length)
        write_filled(str_text(&filled), out);
    if (items)
        fputs(".fi\n", out);
    str_fini(&filled);
}

static void write_flags(const struct flag *flags, FILE *out)
{
    for (; flags && flags->name; flags++) {
        struct str help = {0};
        cli_help_flag(flags, &help);
        fputs(".TP\n", out);
        if (flags->letter)
            fprintf(out, "\\fB\\-%c\\fR, ", flags->letter);
        fputs("\\fB\\-\\-", out);
        write_text(flags->name, out);
        fputs("\\fR", out);
        if (flags->value) {
            fputs(" \\fI", out);
            write_text(flags->value, out);
            fputs("\\fR", out);
        }
        fputc('\n', out);
        write_filled(str_text(&help), out);
        str_fini(&help);
    }
}

static void write_command(const struct command *command, FILE *out)
{
    fputs(".SS \"bench ", out);
    write_text(command->name, out);
    if (command->positional) {
        fputc(' ', out);
        write_text(command->positional, out);
    }
    fputs("\"\n", out);
    write_text(command->summary, out);
    fputs(".\n", out);
    if (command->details)
        write_details(command->details, out);
    write_flags(command->flags, out);
}

static void write_entries(const char *title, const struct entry *entries, FILE *out)
{
    fprintf(out, ".SH %s\n", title);
    for (; entries->term; entries++) {
        fputs(".TP\n.B ", out);
        write_text(entries->term, out);
        fputc('\n', out);
        write_filled(entries->text, out);
    }
}

static void write_exit_status(FILE *out)
{
    fputs(".SH EXIT STATUS\n", out);
    for (const struct cli_exit_text *e = cli_exit_texts; e->text; e++) {
        fprintf(out, ".TP\n.B %d\n", e->code);
        write_filled(e->text, out);
    }
}

void cli_manual(FILE *out)
{
    fputs(".\\\" bench.1 - printed by `bench help --man`.\n", out);
    fprintf(out, ".TH BENCH 1 %s \"ridge %s\" \"User Commands\"\n", BENCH_VERSION_DATE,
            BENCH_VERSION);
    fputs(".SH NAME\nbench \\- measure LLM inference and what limits it\n"
          ".SH SYNOPSIS\n.B bench\n.I COMMAND\n[arguments] [flags]\n"
          ".SH DESCRIPTION\n",
          out);
    write_filled(cli_program_text, out);
    fputs(".SH COMMANDS\n", out);
    for (const struct command *const *c = cli_shown(cli_commands); *c; c = cli_shown(c + 1))
        write_command(*c, out);
    fputs(".SH FLAGS OF EVERY COMMAND\n", out);
    write_flags(cli_common_flags, out);
    fputs(".SH FLAGS WITHOUT A COMMAND\n", out);
    write_flags(cli_program_flags, out);
    write_entries("FILES", files, out);
    write_entries("ENVIRONMENT", environment, out);
    write_exit_status(out);
    write_entries("EXAMPLES", examples, out);
    fputs(".SH SEE ALSO\n.BR gnuplot (1),\n.BR sqlite3 (1)\n.PP\n", out);
    write_filled("`bench help options` lists the keys of suites and bench.conf.", out);
}
