// completion_bash.c - the completion script for bash.
//
// One function fills COMPREPLY. Readline splits words at = and :, so "--kv=int8" arrives in three pieces. The function
// joins them, completes the whole word, and gives back the part that readline replaces. bash 3.2 (macOS) has no compopt
// and no negative subscripts; there files may follow where no word matches.
#include "bench/cli/completion.h"

static const char head[] =
    "# bench.bash - completes the commands, flags and values of bench.\n"
    "# Printed by `bench completion bash`.\n"
    "\n"
    "_bench() {\n"
    "    local line=() word piece base cur head='' command='' flag='' over='' join='' position=0 "
    "i\n"
    "    local flags='' takes='' words='' paths='' ending='' list=''\n"
    "    COMPREPLY=()\n"
    "    for word in \"${COMP_WORDS[@]:0:COMP_CWORD+1}\"; do\n"
    "        if [[ ${#line[@]} -gt 1 && ( $join || $word == [=:]* ) ]]; then\n"
    "            line[${#line[@]}-1]+=$word\n"
    "        else\n"
    "            line+=(\"$word\")\n"
    "        fi\n"
    "        [[ $word == *[=:] ]] && join=1 || join=''\n"
    "    done\n"
    "    cur=${line[${#line[@]}-1]}\n"
    "    piece=${COMP_WORDS[COMP_CWORD]}\n"
    "    [[ $piece == [=:]* ]] && piece=''\n"
    "    base=${cur%\"$piece\"}\n"
    "    i=2\n"
    "    ((${#line[@]} > 2)) && command=${line[1]}\n";

static const char middle[] = "    for (( ; i < ${#line[@]} - 1; i++)); do\n"
                             "        word=${line[i]}\n"
                             "        if [[ $flag ]]; then\n"
                             "            flag=''\n"
                             "        elif [[ $over ]]; then\n"
                             "            ((++position))\n"
                             "        elif [[ $word == -- ]]; then\n"
                             "            over=1\n"
                             "        elif [[ \" $takes \" == *\" $word \"* ]]; then\n"
                             "            flag=$word\n"
                             "        elif [[ $word != -?* ]]; then\n"
                             "            ((++position))\n"
                             "        fi\n"
                             "    done\n"
                             "    if [[ ! $flag && ! $over && $cur == --*=* ]]; then\n"
                             "        flag=${cur%%=*}\n"
                             "        head=$flag=\n"
                             "        cur=${cur#*=}\n"
                             "    fi\n"
                             "    if [[ ! $flag && ! $over && $cur == -* ]]; then\n"
                             "        words=$flags\n"
                             "    else\n"
                             "        case \"$command|${flag:-$((position + 1))}\" in\n";

static const char tail[] = "        esac\n"
                           "    fi\n"
                           "    if [[ $list && $cur == *,* ]]; then\n"
                           "        head+=${cur%,*},\n"
                           "        cur=${cur##*,}\n"
                           "    fi\n"
                           "    COMPREPLY=($(compgen -P \"$head\" -W \"$words\" -- \"$cur\"))\n"
                           "    COMPREPLY=(\"${COMPREPLY[@]#\"$base\"}\")\n"
                           "    if [[ $words && $paths ]]; then\n"
                           "        local IFS=$'\\n'\n"
                           "        COMPREPLY+=($(compgen -d -- \"$cur\")"
                           " $(compgen -f -X \"!*$ending\" -- \"$cur\"))\n"
                           "        compopt -o filenames 2>/dev/null\n"
                           "    elif [[ $paths == folders ]]; then\n"
                           "        compopt +o default -o dirnames 2>/dev/null\n"
                           "    elif [[ ! $paths ]]; then\n"
                           "        compopt +o default 2>/dev/null\n"
                           "    fi\n"
                           "    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=:] ]]; then\n"
                           "        compopt -o nospace 2>/dev/null\n"
                           "    fi\n"
                           "}\n"
                           "\n"
                           "complete -o default -F _bench bench\n";

// The letter and the name of each flag; `valued` leaves out those without a value.
static void write_flags(const struct command *command, bool valued, FILE *out)
{
    const char *space = "";
    for (const struct flag *f = cli_completion_flag(command, NULL); f;
         f = cli_completion_flag(command, f)) {
        if (valued && !f->value)
            continue;
        if (f->letter)
            fprintf(out, "%s-%c", space, f->letter);
        fprintf(out, "%s--%s", f->letter ? " " : space, f->name);
        space = " ";
    }
}

// The second words of the group, or the first words of all commands.
static void write_commands(const char *group, FILE *out)
{
    const char *space = "";
    for (const struct command *const *c = cli_shown(cli_commands); *c; c = cli_shown(c + 1)) {
        const char *name = cli_completion_name(*c, group);
        if (!name)
            continue;
        fprintf(out, "%s%s", space, name);
        space = " ";
    }
}

static void write_tables(const struct cli_tables *tables, FILE *out)
{
    for (size_t i = 0; i < tables->groups.count; i++)
        fprintf(out,
                "    if [[ $command == %s ]] && ((${#line[@]} > 3)); then\n"
                "        command+=\" ${line[2]}\"\n"
                "        i=3\n"
                "    fi\n",
                tables->groups.items[i]);
    fputs("    case $command in\n    '')\n        flags='", out);
    write_flags(NULL, false, out);
    fputs("'\n        ;;\n", out);
    for (const struct command *const *c = cli_shown(cli_commands); *c; c = cli_shown(c + 1)) {
        fprintf(out, "    '%s')\n        flags='", (*c)->name);
        write_flags(*c, false, out);
        fputs("'\n        takes='", out);
        write_flags(*c, true, out);
        fputs("'\n        ;;\n", out);
    }
    fputs("    esac\n", out);
}

static void write_key(FILE *out, const char *key, const struct words *words, bool list)
{
    fprintf(out, "            %s*) words='", key);
    for (size_t i = 0; i < words->count; i++)
        fprintf(out, "%s%s", i ? " " : "", words->items[i]);
    fprintf(out, "'%s ;;\n", list ? " list=1" : "");
}

// The patterns "command|--flag" and "command|position" that accept these values.
static void write_patterns(const struct cli_values *values, FILE *out)
{
    const char *bar = "        ";
    for (const struct command *const *c = cli_shown(cli_commands); *c; c = cli_shown(c + 1)) {
        for (int i = 0; i < (*c)->max_positional; i++)
            if ((*c)->accepts[i] == values) {
                fprintf(out, "%s'%s|%d'", bar, (*c)->name, i + 1);
                bar = " | \\\n        ";
            }
        for (const struct flag *f = cli_completion_flag(*c, NULL); f;
             f = cli_completion_flag(*c, f)) {
            if (f->values != values)
                continue;
            fprintf(out, "%s'%s|--%s'", bar, (*c)->name, f->name);
            bar = " | \\\n        ";
            if (f->letter)
                fprintf(out, "%s'%s|-%c'", bar, (*c)->name, f->letter);
        }
    }
    fputs(")\n", out);
}

static void write_values(const struct cli_values *values, FILE *out)
{
    write_patterns(values, out);
    fputs("            words='", out);
    cli_completion_words(values, out);
    fputs("'\n", out);
    if (values->paths != PATHS_NONE)
        fprintf(out, "            paths=%s\n",
                values->paths == PATHS_FOLDERS ? "folders" : "files");
    if (values->ending)
        fprintf(out, "            ending=%s\n", values->ending);
    if (values->list)
        fputs("            list=1\n", out);
    if (values->keys) {
        fputs("            if [[ $cur == *=* ]]; then\n"
              "            case $cur in\n",
              out);
        cli_completion_keys(out, write_key);
        fputs("            *) words='' ;;\n"
              "            esac\n"
              "            head+=${cur%%=*}=\n"
              "            cur=${cur#*=}\n"
              "            fi\n",
              out);
    }
    fputs("            ;;\n", out);
}

void cli_completion_bash(const struct cli_tables *tables, FILE *out)
{
    fputs(head, out);
    write_tables(tables, out);
    fputs(middle, out);
    fputs("        '|1')\n            words='", out);
    write_commands(NULL, out);
    for (size_t i = 0; i < tables->groups.count; i++)
        fprintf(out, " %s", tables->groups.items[i]);
    fputs("'\n            ;;\n", out);
    for (size_t i = 0; i < tables->groups.count; i++) {
        fprintf(out, "        '%s|1')\n            words='", tables->groups.items[i]);
        write_commands(tables->groups.items[i], out);
        fputs("'\n            ;;\n", out);
    }
    for (size_t i = 0; i < tables->value_count; i++)
        write_values(tables->values[i], out);
    fputs(tail, out);
}
