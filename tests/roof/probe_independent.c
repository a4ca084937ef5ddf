// probe_independent.c - bandwidth and peaks measured a second way, to check the ceilings.
//
// Shares nothing with the program on purpose: it has its own threads, clock, loops and counting. Streams are plain C
// with the compiler's vector extensions, dots are intrinsics. The script tools/compare_ceilings.sh builds it for the
// machine at hand and runs the two in turn. Not part of `make test`: figures of a noisy machine are no test.
//
// probe_independent [threads]: one line each, "name level threads bytes-or-operations-per-second".
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

enum {
    THREADS_MAX = 256,
    SAMPLES = 9,
    VECTOR_BYTES = 64,
    LOOK_BYTES = 32 << 20, // between two readings of the clock, which is a system call
};
typedef uint64_t vector __attribute__((vector_size(VECTOR_BYTES)));

struct task {
    const char *name, *level;
    size_t bytes; // all arrays of one thread
    double (*run)(char *memory, size_t bytes, double seconds);
};

struct thread {
    pthread_t id;
    int index;
    char *memory;
    double rate;
};

static pthread_barrier_t gate;
static const struct task *current; // NULL: stop
static int active;
static size_t memory_bytes;
static volatile uint64_t sink;

// Processor time, where the program uses the monotonic clock: what other programs take does not count.
static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// ---- streams ------------------------------------------------------------------------------------------

static double run_read(char *memory, size_t bytes, double seconds)
{
    double begin = seconds_now(), now, moved = 0;
    do {
        // Whole passes: the sum is of every byte, with eight chains.
        const vector *v = (const vector *)memory;
        vector s[8] = {{0}};
        size_t count = bytes / VECTOR_BYTES / 8 * 8;
        int passes = bytes < LOOK_BYTES ? (int)(LOOK_BYTES / bytes) : 1;
        for (int p = 0; p < passes; p++) {
            for (size_t i = 0; i < count; i += 8)
                _Pragma("GCC unroll 8") for (int k = 0; k < 8; k++) s[k] += v[i + (size_t)k];
            __asm__ volatile("" ::: "memory"); // each pass loads again
        }
        for (int k = 1; k < 8; k++)
            s[0] += s[k];
        sink += s[0][0] + s[0][7];
        moved += (double)passes * (double)count * VECTOR_BYTES;
        now = seconds_now();
    } while (now - begin < seconds);
    return moved / (now - begin);
}

// ---- peaks ----------------------------------------------------------------------------------------------

enum { ROUNDS = 20000 };

// Random operands for the peaks. The high and the low half of every word are bf16 numbers of magnitude 1/2 to 1 and
// either sign. The whole word is a float of that kind, and its bytes are any. With |a| < 1 the sums of multiply-adds
// stay finite for ever, and those of dots for any run of this length.
static void fill_operands(char *memory)
{
    uint64_t state = 88172645463325252u;
    for (int i = 0; i < 64; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        uint32_t word = 0x3f003f00u | ((uint32_t)(state >> 20) & 0x807f807fu);
        memcpy(memory + 4 * i, &word, sizeof word);
    }
}

// Twelve chains cover the latency of a multiply-add (4 to 5 cycles) on two units; named one by one, so that
// each is a register.
#define CHAINS(STEP)                                                                               \
    STEP(s0, 0)                                                                                    \
    STEP(s1, 1)                                                                                    \
    STEP(s2, 0)                                                                                    \
    STEP(s3, 1)                                                                                    \
    STEP(s4, 0)                                                                                    \
    STEP(s5, 1) STEP(s6, 0) STEP(s7, 1) STEP(s8, 0) STEP(s9, 1) STEP(s10, 0) STEP(s11, 1)

#define PEAK(name, lanes, type, input, zero, step)                                                 \
    static double name(char *memory, size_t bytes, double seconds)                                 \
    {                                                                                              \
        (void)bytes;                                                                               \
        input a0 = *(input *)memory, a1 = *(input *)(memory + 64);                                 \
        input b0 = *(input *)(memory + 128), b1 = *(input *)(memory + 192);                        \
        type s0 = zero, s1 = zero, s2 = zero, s3 = zero, s4 = zero, s5 = zero, s6 = zero,          \
             s7 = zero, s8 = zero, s9 = zero, s10 = zero, s11 = zero;                              \
        double begin = seconds_now(), now, done = 0;                                               \
        do {                                                                                       \
            for (int r = 0; r < ROUNDS; r++) {                                                     \
                CHAINS(step)                                                                       \
            }                                                                                      \
            done += 12.0 * (lanes)*2 * ROUNDS;                                                     \
            now = seconds_now();                                                                   \
        } while (now - begin < seconds);                                                           \
        type all[] = {s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11};                           \
        for (size_t i = 0; i < sizeof all / 8; i++)                                                \
            sink += ((uint64_t *)all)[i];                                                          \
        return done / (now - begin);                                                               \
    }

// Equal chains would be computed once: each result is something the compiler cannot know.
#if defined(__AVX512F__)
#define KEEP(s) __asm__ volatile("" : "+v"(s));
#else
#define KEEP(s) __asm__ volatile("" : "+x"(s));
#endif

#if defined(__AVX512F__)
#define FMA_STEP(s, i)                                                                             \
    s = _mm512_fmadd_ps(s, a##i, b##i);                                                            \
    KEEP(s)
PEAK(run_f32, 16, __m512, __m512, _mm512_setzero_ps(), FMA_STEP)
#elif defined(__AVX2__) && defined(__FMA__)
#define FMA_STEP(s, i)                                                                             \
    s = _mm256_fmadd_ps(s, a##i, b##i);                                                            \
    KEEP(s)
PEAK(run_f32, 8, __m256, __m256, _mm256_setzero_ps(), FMA_STEP)
#endif
#if defined(__AVX512BF16__)
#define BF16_STEP(s, i)                                                                            \
    s = _mm512_dpbf16_ps(s, a##i, b##i);                                                           \
    KEEP(s)
PEAK(run_bf16, 32, __m512, __m512bh, _mm512_setzero_ps(), BF16_STEP)
#endif
#if defined(__AVX512VNNI__)
#define INT8_STEP(s, i)                                                                            \
    s = _mm512_dpbusd_epi32(s, a##i, b##i);                                                        \
    KEEP(s)
PEAK(run_int8, 64, __m512i, __m512i, _mm512_setzero_si512(), INT8_STEP)
#endif

// ---- threads --------------------------------------------------------------------------------------------

static void *thread_main(void *arg)
{
    struct thread *self = arg;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(self->index, &set);
    sched_setaffinity(0, sizeof set, &set);
    self->memory =
        mmap(NULL, memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (self->memory == MAP_FAILED)
        exit(1);
    madvise(self->memory, memory_bytes, MADV_HUGEPAGE);
    for (size_t i = 0; i < memory_bytes; i += sizeof(uint64_t))
        *(uint64_t *)(self->memory + i) = i * 0x9e3779b97f4a7c15u;
    for (;;) {
        pthread_barrier_wait(&gate);
        if (!current)
            return NULL;
        fill_operands(self->memory);
        if (self->index < active)
            self->rate = current->run(self->memory, current->bytes, 0.006);
        pthread_barrier_wait(&gate);
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// From sysfs: sysconf() adds up what other guests of a virtual machine's host have.
static size_t cache_bytes(int level, size_t fallback)
{
    char path[96], text[64];
    for (int i = 0; i < 8; i++) {
        int found = 0;
        size_t kib = 0;
        static const char *const files[] = {"level", "type", "size"};
        for (int f = 0; f < 3; f++) {
            snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s", i,
                     files[f]);
            FILE *file = fopen(path, "r");
            if (!file || !fgets(text, sizeof text, file))
                text[0] = 0;
            if (file)
                fclose(file);
            found += (f == 0 && atoi(text) == level) || (f == 1 && text[0] != 'I');
            kib = (size_t)atol(text);
        }
        if (found == 2 && kib > 0)
            return kib << 10;
    }
    return fallback;
}

int main(int argc, char **argv)
{
    static struct thread threads[THREADS_MAX];
    static double samples[16][2][SAMPLES];
    int all = argc > 1 ? atoi(argv[1]) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (all < 1 || all > THREADS_MAX)
        return 1;
    size_t l3 = cache_bytes(3, 32 << 20);
    memory_bytes = 8 * l3 < (256u << 20) ? (256u << 20) : 8 * l3;
    struct task tasks[16];
    int count = 0;
    tasks[count++] = (struct task){"read", "L1", cache_bytes(1, 32 << 10) / 2, run_read};
    tasks[count++] = (struct task){"read", "L2", cache_bytes(2, 512 << 10) / 2, run_read};
    tasks[count++] = (struct task){"read", "L3", l3 / 4 / (size_t)all, run_read};
    tasks[count++] = (struct task){"read", "DRAM", memory_bytes, run_read};
#if defined(__AVX2__) && defined(__FMA__)
    tasks[count++] = (struct task){"f32_fma", "-", 0, run_f32};
#endif
#if defined(__AVX512BF16__)
    tasks[count++] = (struct task){"bf16_dot", "-", 0, run_bf16};
#endif
#if defined(__AVX512VNNI__)
    tasks[count++] = (struct task){"int8_dot", "-", 0, run_int8};
#endif
    pthread_barrier_init(&gate, NULL, (unsigned)all + 1);
    for (int i = 0; i < all; i++) {
        threads[i].index = i;
        pthread_create(&threads[i].id, NULL, thread_main, &threads[i]);
    }
    for (int s = 0; s < SAMPLES; s++)
        for (int t = 0; t < count; t++)
            for (int many = 0; many < 2; many++) {
                current = &tasks[t];
                active = many ? all : 1;
                pthread_barrier_wait(&gate);
                pthread_barrier_wait(&gate);
                for (int i = 0; i < active; i++)
                    samples[t][many][s] += threads[i].rate;
            }
    current = NULL;
    pthread_barrier_wait(&gate);
    for (int t = 0; t < count; t++)
        for (int many = 0; many < (all > 1 ? 2 : 1); many++) {
            qsort(samples[t][many], SAMPLES, sizeof(double), by_value);
            printf("%s %s %d %.6g\n", tasks[t].name, tasks[t].level, many ? all : 1,
                   samples[t][many][SAMPLES / 2]);
        }
    return 0;
}
