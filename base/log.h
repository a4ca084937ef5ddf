// log.h - messages on standard error. Results are written to standard output, never through here.
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/status.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

// Set once by main before any thread starts; LOG_INFO until then.
void log_set_level(enum log_level level);

// One line (str_plain), prefixed "bench: " (and "warning: "); the newline is added. Safe from any thread.
void log_line(enum log_level level, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
