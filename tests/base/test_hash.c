// test_hash.c - SHA-256 against the examples of FIPS 180-4, whole and in pieces.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "tests/pending.h"

static const char message[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
static const char digest[] = "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1";

static void known_messages_have_known_digests(void **state)
{
    (void)state;
    struct error err = {0};
    char hex[HASH_HEX_BYTES];
    assert_int_equal(hash_bytes("", 0, hex, &err), OK);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_int_equal(hash_bytes(message, strlen(message), hex, &err), OK);
    assert_string_equal(hex, digest);
}

static void pieces_make_the_same_digest(void **state)
{
    (void)state;
    char hex[HASH_HEX_BYTES];
    for (size_t cut = 0; cut <= strlen(message); cut++) {
        struct hash *hash = hash_create();
        assert_non_null(hash);
        hash_update(hash, message, cut);
        hash_update(hash, message + cut, strlen(message) - cut);
        hash_finish(hash, hex);
        assert_string_equal(hex, digest);
    }
    hash_destroy(NULL);
}

// A file of several blocks stops at a signal; what is small is hashed whole, so that a run can still be recorded.
static void a_signal_stops_a_large_file(void **state)
{
    (void)state;
    enum { LARGE = 40 << 20 };
    char hex[HASH_HEX_BYTES], again[HASH_HEX_BYTES];
    struct error err = {0};
    struct interrupt in;
    unsigned char *bytes = calloc(LARGE, 1);
    assert_non_null(bytes);
    bytes[LARGE - 1] = 1;
    assert_int_equal(hash_bytes(bytes, LARGE, hex, &err), OK);
    struct hash *hash = hash_create();
    hash_update(hash, bytes, LARGE);
    hash_finish(hash, again);
    assert_string_equal(hex, again);
    pending_begin(&in, SIGTERM);
    assert_int_equal(hash_bytes(bytes, LARGE, hex, &err), ERR_INTERRUPTED);
    error_clear(&err);
    assert_int_equal(hash_bytes(message, strlen(message), hex, &err), OK);
    assert_string_equal(hex, digest);
    interrupt_end(&in);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_messages_have_known_digests),
        cmocka_unit_test(pieces_make_the_same_digest),
        cmocka_unit_test(a_signal_stops_a_large_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
