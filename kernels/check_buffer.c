// check_buffer.c - guarded memory for the kernels under check, and the values that fill it.
#include "kernels/check.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/str.h"

static size_t page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

// Whole pages for `bytes`, between two pages that fault.
static struct check_buffer *add_buffer(struct check_case *c, size_t bytes)
{
    size_t page = page_bytes(), inner = (bytes + page - 1) / page * page;
    if (c->buffer_count == CHECK_BUFFERS) {
        kernel_check_fail(c, "the case needs more than %d buffers", CHECK_BUFFERS);
        return NULL;
    }
    struct check_buffer *b = &c->buffers[c->buffer_count];
    unsigned char *pages =
        mmap(NULL, inner + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) {
        kernel_check_fail(c, "no memory for a buffer of %zu bytes", bytes);
        return NULL;
    }
    mprotect(pages, page, PROT_NONE);
    mprotect(pages + page + inner, page, PROT_NONE);
    *b = (struct check_buffer){.pages = pages, .pages_bytes = inner + 2 * page};
    c->buffer_count++;
    return b;
}

void *kernel_check_input(struct check_case *c, size_t bytes, size_t align)
{
    size_t whole = (bytes + align - 1) / align * align;
    struct check_buffer *b = add_buffer(c, whole ? whole : align);
    if (!b)
        return NULL;
    b->bytes = bytes;
    b->data = b->pages + b->pages_bytes - page_bytes() - whole;
    return b->data;
}

void *kernel_check_output(struct check_case *c, size_t bytes, size_t offset)
{
    size_t whole = (bytes + 63) / 64 * 64, page = page_bytes();
    struct check_buffer *b = add_buffer(c, whole + 192);
    if (!b)
        return NULL;
    b->bytes = bytes;
    b->output = true;
    b->data = b->pages + b->pages_bytes - page - whole - 128 + offset % 64;
    memset(b->pages + page, CHECK_POISON, b->pages_bytes - 2 * page);
    return b->data;
}

void kernel_check_seal(struct check_case *c)
{
    size_t page = page_bytes();
    for (int i = 0; i < c->buffer_count; i++)
        if (!c->buffers[i].output)
            mprotect(c->buffers[i].pages + page, c->buffers[i].pages_bytes - 2 * page, PROT_READ);
}

void kernel_check_canaries(struct check_case *c)
{
    size_t page = page_bytes();
    for (int i = 0; i < c->buffer_count; i++) {
        const struct check_buffer *b = &c->buffers[i];
        const unsigned char *end = b->pages + b->pages_bytes - page;
        if (!b->output)
            continue;
        for (const unsigned char *at = b->pages + page; at < end; at++) {
            if (at == b->data && b->bytes)
                at += b->bytes;
            if (*at != CHECK_POISON)
                kernel_check_fail(c, "wrote %td bytes from the start of an output of %zu",
                                  at - b->data, b->bytes);
        }
    }
}

void kernel_check_release(struct check_case *c)
{
    for (int i = 0; i < c->buffer_count; i++)
        munmap(c->buffers[i].pages, c->buffers[i].pages_bytes);
    c->buffer_count = 0;
}

// ---- values ----------------------------------------------------------------------------------------------

int kernel_check_between(struct check_case *c, int low, int high)
{
    return low + (int)rng_below(&c->rng, (uint32_t)(high - low + 1));
}

int kernel_check_length(struct check_case *c)
{
    return c->index % 3 == 0 ? kernel_check_between(c, 1, 40) : kernel_check_between(c, 1, 700);
}

bool kernel_check_flip(struct check_case *c)
{
    return rng_below(&c->rng, 2) != 0;
}

static float extreme(struct check_case *c)
{
    float sign = kernel_check_flip(c) ? 1.0f : -1.0f;
    switch (kernel_check_between(c, 0, 7)) {
    case 0:
        return sign * 0.0f;
    case 1:
        return sign * ldexpf(rng_f32(&c->rng), -126); // denormal in f32 and bf16
    case 2:
        return sign * ldexpf(1 + rng_f32(&c->rng), -100);
    case 3:
        return sign *
               ldexpf(1 + rng_f32(&c->rng), kernel_check_between(c, 20, 55)); // two multiply in f32
    case 4:
        return sign * ldexpf(1, kernel_check_between(c, -20, 20));
    case 5:
        return sign;
    default:
        return sign * rng_f32(&c->rng);
    }
}

float kernel_check_value(struct check_case *c)
{
    float plain = 2 * rng_f32(&c->rng) - 1;
    if (c->mode == CHECK_EXTREME)
        return extreme(c);
    if (c->mode == CHECK_INFINITE && rng_below(&c->rng, 40) == 0)
        return kernel_check_flip(c) ? INFINITY : -INFINITY;
    return plain;
}

void kernel_check_fill(struct check_case *c, float *to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = kernel_check_value(c);
}

// ---- the verdict -----------------------------------------------------------------------------------------

void kernel_check_shape(struct check_case *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(c->shape, sizeof c->shape, format, args);
    va_end(args);
}

void kernel_check_fail(struct check_case *c, const char *format, ...)
{
    char what[128];
    va_list args;
    if (c->failed)
        return;
    c->failed = true;
    if (c->result->failures++ > 0)
        return; // only a row's first failure is reported
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    struct str reason = {0};
    str_printf(&reason, "%s (%s; case %d of seed %llu)", what, c->shape, c->index,
               (unsigned long long)c->seed);
    snprintf(c->result->reason, sizeof c->result->reason, "%s", str_text(&reason));
    str_fini(&reason);
}

void kernel_check_close(struct check_case *c, const char *what, size_t i, float got, float expected,
                        double allowed)
{
    if (got == expected || (isnan(got) && isnan(expected)))
        return;
    double difference = fabs((double)got - (double)expected);
    if (!(difference <= allowed) || isinf(got) != isinf(expected))
        kernel_check_fail(c, "%s[%zu] is %.9g, ref %.9g, allowed difference %.3g", what, i,
                          (double)got, (double)expected, allowed);
}
