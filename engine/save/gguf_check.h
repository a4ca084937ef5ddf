// gguf_check.h - checks that a written file describes its source model.
#ifndef ENGINE_SAVE_GGUF_CHECK_H
#define ENGINE_SAVE_GGUF_CHECK_H

#include "engine/engine.h"

// Opens the file and compares its description with that of the source. Keys cannot describe every architecture (a block
// that is not parallel, a window in only some layers), so a property without a key would be read back as another one.
// Errors: ERR_UNSUPPORTED naming the difference; those of checkpoint_open.
enum status gguf_check_written(const char *path, const struct model_config *config,
                               struct error *err);

#endif
