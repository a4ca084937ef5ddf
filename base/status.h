// status.h - how a call says that it failed, and why.
//
// Every fallible call returns an `enum status` and takes a `struct error *` (never NULL). The first failure is kept: a
// later one during cleanup does not hide it. Callers add their context with error_context(): "models/x/config.json:
// hidden_size: not a number".
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#include <stdarg.h>
#include <stddef.h>

enum status {
    OK = 0,
    ERR_USAGE,       // an invalid request: flag, key, value
    ERR_IO,          // the operating system refused: file, pipe, process
    ERR_FORMAT,      // a file or a message is malformed
    ERR_NOMEM,       // memory, of host or device, is exhausted
    ERR_UNSUPPORTED, // well-formed, but this build or machine cannot do it
    ERR_TIMEOUT,
    ERR_INTERRUPTED, // Ctrl-C or SIGTERM
    ERR_INTERNAL,    // a bug in this program
};

struct error {
    enum status code; // OK while nothing failed
    const char *file; // source file and line of the first failure, for --verbose and bug reports
    int line;
    // One line of UTF-8 (str_plain) without a full stop; names the file and the place in it.
    char message[1024];
};

// Keeps the failure unless an earlier one is kept, and returns the kept code.
#define FAIL(err, code, ...) error_set((err), (code), __FILE__, __LINE__, __VA_ARGS__)

// The same for a refusal by the system: the message is followed by ": " and the text of `os_error`. The code is
// ERR_NOMEM for ENOMEM, else ERR_IO. os_error: errno. If anything runs in between, the caller saves it right after the
// failed call, because any library call may overwrite it.
#define FAIL_OS(err, os_error, ...) error_set_os((err), (os_error), __FILE__, __LINE__, __VA_ARGS__)

// Writes the text for an errno value to `out`: that of strerror, except that a file at its size limit names the limit.
// Returns `out`.
enum { ERROR_REASON_BYTES = 128 };
const char *error_reason(int os_error, char *out, size_t out_bytes);

// Leaves the calling function with the status of `call` unless it is OK. Only where nothing is owned.
#define TRY(call)                                                                                  \
    do {                                                                                           \
        enum status try_status_ = (call);                                                          \
        if (try_status_ != OK)                                                                     \
            return try_status_;                                                                    \
    } while (0)

#ifdef __GNUC__
#define PRINTF_LIKE(format_at, args_at) __attribute__((format(printf, format_at, args_at)))
#else
#define PRINTF_LIKE(format_at, args_at)
#endif

enum status error_set(struct error *err, enum status code, const char *file, int line,
                      const char *format, ...) PRINTF_LIKE(5, 6);

enum status error_set_os(struct error *err, int os_error, const char *file, int line,
                         const char *format, ...) PRINTF_LIKE(5, 6);

// Puts "context: " before the kept message, and returns its code. Does nothing when nothing failed.
enum status error_context(struct error *err, const char *format, ...) PRINTF_LIKE(2, 3);

// Names `is` wherever the kept message has `was`: the file that the user asked for, not the temporary one that no
// longer exists. Does nothing when nothing failed, or a name is NULL because memory ran out.
void error_replace(struct error *err, const char *was, const char *is);

// Clears the error, for callers that continue (a sweep records a failed cell, then runs the next).
void error_clear(struct error *err);

// "usage", "io", "format", ...: the word stored in the database and printed in --json.
const char *status_name(enum status code);

#endif
