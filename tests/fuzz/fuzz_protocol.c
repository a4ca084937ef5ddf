// fuzz_protocol.c - what a broken worker might say to the runner, and what a broken runner might ask.
#include <stdlib.h>

#include "bench/protocol/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// The first byte chooses the side: 'j' a job, else a line.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = {0};
    if (size == 0)
        return 0;
    const char *text = (const char *)data + 1;
    if (data[0] == 'j') {
        struct job job;
        json_t *root = NULL;
        if (job_decode(text, size - 1, &job, &root, &err) == OK) {
            char *again = job_encode(&job);
            free(again);
            free(job.cells);
            json_decref(root);
        }
        return 0;
    }
    struct event event;
    if (event_parse(text, size - 1, &event, &err) == OK)
        event_fini(&event);
    return 0;
}
