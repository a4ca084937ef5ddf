// hash.c - SHA-256 through libcrypto's EVP interface.
#include "base/hash.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/interrupt.h"

enum { BLOCK_BYTES = 16 << 20 }; // about 10 ms

struct hash {
    EVP_MD_CTX *ctx;
};

struct hash *hash_create(void)
{
    struct hash *hash = calloc(1, sizeof *hash);
    if (!hash)
        return NULL;
    hash->ctx = EVP_MD_CTX_new();
    if (!hash->ctx || EVP_DigestInit_ex(hash->ctx, EVP_sha256(), NULL) != 1) {
        hash_destroy(hash);
        return NULL;
    }
    return hash;
}

void hash_update(struct hash *hash, const void *bytes, size_t count)
{
    EVP_DigestUpdate(hash->ctx, bytes, count);
}

enum status hash_update_file(struct hash *hash, const void *bytes, size_t count, struct error *err)
{
    const unsigned char *at = bytes;
    while (count > BLOCK_BYTES) {
        hash_update(hash, at, BLOCK_BYTES);
        at += BLOCK_BYTES;
        count -= BLOCK_BYTES;
        TRY(interrupt_check(err));
    }
    hash_update(hash, at, count);
    return OK;
}

void hash_finish(struct hash *hash, char hex[HASH_HEX_BYTES])
{
    unsigned char digest[EVP_MAX_MD_SIZE] = {0};
    EVP_DigestFinal_ex(hash->ctx, digest, NULL);
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    hash_destroy(hash);
}

void hash_destroy(struct hash *hash)
{
    if (!hash)
        return;
    EVP_MD_CTX_free(hash->ctx);
    free(hash);
}

enum status hash_bytes(const void *bytes, size_t count, char hex[HASH_HEX_BYTES], struct error *err)
{
    struct hash *hash = hash_create();
    if (!hash)
        return FAIL(err, ERR_NOMEM, "no memory for a digest");
    enum status status = hash_update_file(hash, bytes, count, err);
    if (status == OK)
        hash_finish(hash, hex);
    else
        hash_destroy(hash);
    return status;
}
