// hash.h - SHA-256, for cell keys, model content and cache names. From the system's libcrypto.
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>

#include "base/status.h"

enum { HASH_HEX_BYTES = 65 }; // 64 hex digits and the NUL

struct hash; // a running digest

// NULL when memory is exhausted.
struct hash *hash_create(void);
void hash_update(struct hash *hash, const void *bytes, size_t count);
// The same for a whole file, which may be many gigabytes: between blocks it checks for a signal (interrupt.h).
// Errors: ERR_INTERRUPTED.
enum status hash_update_file(struct hash *hash, const void *bytes, size_t count, struct error *err);
// Writes the digest as lower-case hex and frees `hash`.
void hash_finish(struct hash *hash, char hex[HASH_HEX_BYTES]);
void hash_destroy(struct hash *hash);

// The digest of one buffer; of a large one as hash_update_file.
enum status hash_bytes(const void *bytes, size_t count, char hex[HASH_HEX_BYTES],
                       struct error *err);

#endif
