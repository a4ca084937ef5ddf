// fuzz_suite.c - libFuzzer target: any bytes as a suite file, read to the end or refused with one line.
//
// Includes in the input are followed as they would be for a person; only regular files are read.
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/suite/suite.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char path[] = "/tmp/fuzz_suite.XXXXXX";
    static int fd = -1;
    if (fd < 0 && (fd = mkstemp(path)) < 0)
        abort(); // a fuzzer that cannot write its input has nothing to say
    if (ftruncate(fd, 0) != 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
        abort();
    struct suite suite;
    struct error err = {0};
    struct suite_sources sources = {.suite_path = path};
    enum status status = suite_load(&sources, &suite, &err);
    if (status != err.code || (status != OK && (!err.message[0] || strchr(err.message, '\n'))))
        abort(); // every refusal is one line, and none is silent
    suite_fini(&suite);
    return 0;
}
