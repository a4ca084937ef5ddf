// gguf_check.h - whether a file that was written says what it was to say.
#ifndef ENGINE_SAVE_GGUF_CHECK_H
#define ENGINE_SAVE_GGUF_CHECK_H

#include "engine/engine.h"

// Opens the file and holds its description against the one it was made of. Architectures are more than their keys
// can say (a block that is not parallel, a window in some layers only): what GGUF has no words for would
// be read back as something else. Errors: ERR_UNSUPPORTED naming what differs; those of checkpoint_open.
enum status gguf_check_written(const char *path, const struct model_config *config,
                               struct error *err);

#endif
