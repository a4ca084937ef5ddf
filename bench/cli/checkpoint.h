// checkpoint.h - opens the MODEL word of a command line as a checkpoint, and reads the flags next to it.
#ifndef BENCH_CLI_CHECKPOINT_H
#define BENCH_CLI_CHECKPOINT_H

#include "bench/cli/command.h"
#include "engine/engine.h"

// Opens a Hugging Face folder or a .gguf file, by its path or among the program's own files ("models/reference" works
// from any directory). Owned by the caller. Errors: as checkpoint_open.
enum status cli_checkpoint_find(const char *name, struct checkpoint **out, struct error *err);

// The path of a checkpoint of this name: a folder, or a file other than a .json. *path: NULL if the name means a shape,
// known or not; the caller frees it. Errors: ERR_USAGE if the name is a path and nothing is there.
enum status cli_checkpoint_path(const char *name, char **path, struct error *err);

// The same, but also accepts a config.json or the name of a shape in models/shapes, with random weights.
enum status cli_checkpoint_or_shape_find(const char *name, struct checkpoint **out,
                                         struct error *err);

// Reads the value of --scheme. Errors: ERR_USAGE with the list of schemes.
enum status cli_scheme_read(const char *name, const struct scheme **out, struct error *err);
// Reads --scheme, --head and --kv: the scheme as the target runs it, and the type of the KV cache. A missing flag, or
// "auto", means the scheme's own.
enum status cli_scheme_flags_read(const struct arguments *args, struct device_target target,
                                  struct scheme *out, enum dtype *kv, struct error *err);

// Reads --calib for the scheme of this name. *out: the file, or NULL for the program's own. Errors: ERR_USAGE if the
// scheme does not calibrate; ERR_IO if the file cannot be read.
enum status cli_calib_read(const struct arguments *args, const char *scheme, const char **out,
                           struct error *err);

// Encodes `text`, with the model's bos in front if it has one. *ids is a new array the caller frees.
// Errors: ERR_UNSUPPORTED without a tokenizer, ERR_USAGE when there are no ids, ERR_NOMEM.
enum status cli_prompt_ids(const struct checkpoint *ck, const struct tokenizer *tok,
                           const char *text, size_t bytes, int32_t **ids, size_t *count,
                           struct error *err);

#endif
