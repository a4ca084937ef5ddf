// commands.c - the table of commands, in the order `bench --help` shows them.
//
// A command is one file that defines one `const struct command`. Its row here registers it.
#include "bench/cli/command.h"

extern const struct command command_completion;
extern const struct command command_convert;
extern const struct command command_generate;
extern const struct command command_help;
extern const struct command command_kernel_bench;
extern const struct command command_kernel_check;
extern const struct command command_kernel_list;
extern const struct command command_machine;
extern const struct command command_model_info;
extern const struct command command_model_logits;
extern const struct command command_model_tokenize;
extern const struct command command_profile;
extern const struct command command_quality;
extern const struct command command_quantize;
extern const struct command command_report;
extern const struct command command_show;
extern const struct command command_list;
extern const struct command command_export;
extern const struct command command_run;
extern const struct command command_worker;

const struct command *const cli_commands[] = {
    &command_run,          &command_profile,      &command_generate,
    &command_report,       &command_list,         &command_show,
    &command_export,       &command_machine,      &command_kernel_list,
    &command_kernel_check, &command_kernel_bench, &command_quantize,
    &command_quality,      &command_model_info,   &command_model_tokenize,
    &command_model_logits, &command_convert,      &command_help,
    &command_completion,   &command_worker,       NULL,
};
