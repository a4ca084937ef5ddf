// fragments.cuh - turns each weight type into operands of mma.sync. For the product kernels only.
//
// Register names are those of the PTX manual, for lane 4 g + t. a0 and a2 hold row g, a1 and a3 row g + 8. b0 and b1
// hold token g. c0 and c1 are row g, c2 and c3 row g + 8, for tokens 2 t and 2 t + 1. pack.h says which inputs they
// are.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "kernels/cuda/cuda.h"

static __device__ __forceinline__ uint32_t word_of(const uint4 &v, int i)
{
    return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

static __device__ __forceinline__ void mma_bf16(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

static __device__ __forceinline__ void mma_f16(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

static __device__ __forceinline__ void mma_i8(int c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

static __device__ __forceinline__ uint32_t bf16x2_bits(__nv_bfloat162 v)
{
    return *reinterpret_cast<uint32_t *>(&v);
}

static __device__ __forceinline__ __nv_bfloat162 bits_bf16x2(uint32_t v)
{
    return *reinterpret_cast<__nv_bfloat162 *>(&v);
}

// Casts two e4m3 codes, each in the high byte of a half, to bf16. Exponent and mantissa move to the low four bits of
// bf16's exponent and the high three bits of its mantissa. A factor of 2^120 makes up for the difference of biases.
// Exact, also for subnormals.
static __device__ __forceinline__ uint32_t e4m3_to_bf16(uint32_t codes)
{
    uint32_t moved = (codes & 0x80008000u) | (codes & 0x7f007f00u) >> 4;
    return bf16x2_bits(__hmul2(bits_bf16x2(moved), bits_bf16x2(0x7b807b80u)));
}

// Two int4 codes in the low bits of each half, minus their row's zero: (128 + code) - (128 + zero) in bf16, which is
// exact.
static __device__ __forceinline__ uint32_t i4_to_bf16(uint32_t codes, __nv_bfloat162 offset)
{
    uint32_t magic; // (codes & 0x000f000f) | 0x43004300 as one instruction; the compiler would emit two
    asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(magic) : "r"(codes), "r"(0x000f000fu), "r"(0x43004300u));
    return bf16x2_bits(__hsub2(bits_bf16x2(magic), offset));
}

// Two int8 codes, each in the low byte of a half: 128 + the low 7 bits, less 128 or, for a code below zero, 256. Exact
// in bf16.
static __device__ __forceinline__ uint32_t i8_to_bf16(uint32_t codes)
{
    uint32_t low, less; // (codes & mask) | 0x43004300 as one instruction each
    asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(low) : "r"(codes), "r"(0x007f007fu), "r"(0x43004300u));
    asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(less) : "r"(codes), "r"(0x00800080u), "r"(0x43004300u));
    return bf16x2_bits(__hsub2(bits_bf16x2(low), bits_bf16x2(less)));
}

// Casts four e4m3 codes to 16-bit floats, which hold them exactly: f16 where an instruction does it, else bf16.
static __device__ __forceinline__ void e4m3_to_16(uint32_t codes, uint32_t to[2])
{
#if __CUDA_ARCH__ >= 890
    asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(to[0]) : "h"((unsigned short)codes));
    asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(to[1]) : "h"((unsigned short)(codes >> 16)));
#else
    to[0] = e4m3_to_bf16(__byte_perm(codes, 0, 0x1404));
    to[1] = e4m3_to_bf16(__byte_perm(codes, 0, 0x3424));
#endif
}

// A step of 32 inputs of e4m3 by e4m3, as two of 16 inputs. The tensor cores' own sums of e4m3 keep about 14 bits.
// Those of 16-bit floats keep all bits of f32, at the price of the casts.
static __device__ __forceinline__ void mma_e4m3(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    uint32_t w[4][2], x[2][2];
#pragma unroll
    for (int i = 0; i < 4; i++)
        e4m3_to_16(a[i], w[i]);
    e4m3_to_16(b0, x[0]);
    e4m3_to_16(b1, x[1]);
#pragma unroll
    for (int i = 0; i < 2; i++) { // any order of a register's four inputs, as long as both operands agree
        const uint32_t of[4] = {w[2 * i][0], w[2 * i + 1][0], w[2 * i][1], w[2 * i + 1][1]};
#if __CUDA_ARCH__ >= 890
        mma_f16(c, of, x[i][0], x[i][1]);
#else
        mma_bf16(c, of, x[i][0], x[i][1]);
#endif
    }
}

// The products of fp8 weights by fp8 inputs, in the place of a weight type. A type alone names the product with its
// usual inputs, which are bf16 for fp8 weights.
static constexpr enum dtype F8_BY_F8 = DT_COUNT;

// Whether sums are scaled by row, and by token.
static constexpr CUDA_BOTH bool scales_rows(enum dtype product)
{
    return product == DT_I8 || product == DT_F8E4M3 || product == F8_BY_F8;
}
static constexpr CUDA_BOTH bool scales_tokens(enum dtype product)
{
    return product == DT_I8 || product == F8_BY_F8;
}

// Whether sums are scaled by group, and the bytes of the scales behind a run of blocks (pack.h).
static constexpr CUDA_BOTH bool scales_groups(enum dtype product)
{
    return product == DT_I4 || product == DT_I8G;
}
static constexpr CUDA_BOTH int run_scales(enum dtype product, int group)
{
    return product == DT_I4    ? CUDA_UNIT_COLS / (group ? group : 1) * CUDA_TILE_ROWS * 4
           : product == DT_I8G ? CUDA_UNIT_COLS / 2 / 32 * CUDA_TILE_ROWS * 2
                               : 0;
}

// What the product kernels need to know about a weight type:
//   words     16-byte vectors of a lane in a block of 64 inputs
//   steps     products in a block
//   x_bytes   bytes of a block's inputs for 8 tokens
//   fragment  a0 .. a3 of step m from a block's words; int4: minus the zeros of rows g and g + 8
//   run       blocks that their scales follow; types in groups alone
template <enum dtype T> struct weights;

// Scales and zeros of rows g and g + 8, for one group of one tile.
struct group_scales {
    float scale[2];
    __nv_bfloat162 offset[2]; // int4: 128 + the zeros
};

template <> struct weights<DT_BF16> {
    enum { words = 4, steps = 4, x_bytes = 1024 };
    typedef float sum;
    static __device__ __forceinline__ void fragment(const uint4 *v, int m, uint32_t a[4])
    {
        a[0] = v[m].x;
        a[1] = v[m].y;
        a[2] = v[m].z;
        a[3] = v[m].w;
    }
    static __device__ __forceinline__ void multiply(sum c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
    {
        mma_bf16(c, a, b0, b1);
    }
};

template <> struct weights<DT_F16> : weights<DT_BF16> {
    static __device__ __forceinline__ void multiply(sum c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
    {
        mma_f16(c, a, b0, b1);
    }
};

template <> struct weights<DT_I8> {
    enum { words = 2, steps = 2, x_bytes = 512 };
    typedef int sum;
    static __device__ __forceinline__ void fragment(const uint4 *v, int m, uint32_t a[4])
    {
        a[0] = v[m].x;
        a[1] = v[m].y;
        a[2] = v[m].z;
        a[3] = v[m].w;
    }
    static __device__ __forceinline__ void multiply(sum c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
    {
        mma_i8(c, a, b0, b1);
    }
};

template <> struct weights<DT_F8E4M3> {
    enum { words = 2, steps = 4, x_bytes = 1024 };
    typedef float sum;
    static __device__ __forceinline__ void fragment(const uint4 *v, int m, uint32_t a[4])
    {
        const uint32_t low = word_of(v[0], m), high = word_of(v[1], m);
        a[0] = e4m3_to_bf16(__byte_perm(low, 0, 0x1404));
        a[1] = e4m3_to_bf16(__byte_perm(high, 0, 0x1404));
        a[2] = e4m3_to_bf16(__byte_perm(low, 0, 0x3424));
        a[3] = e4m3_to_bf16(__byte_perm(high, 0, 0x3424));
    }
    static __device__ __forceinline__ void multiply(sum c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
    {
        mma_bf16(c, a, b0, b1);
    }
};

template <> struct weights<F8_BY_F8> {
    enum { words = 2, steps = 2, x_bytes = 512 };
    typedef float sum;
    static __device__ __forceinline__ void fragment(const uint4 *v, int m, uint32_t a[4])
    {
        a[0] = word_of(v[0], 2 * m);
        a[1] = word_of(v[1], 2 * m);
        a[2] = word_of(v[0], 2 * m + 1);
        a[3] = word_of(v[1], 2 * m + 1);
    }
    static __device__ __forceinline__ void multiply(sum c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
    {
        mma_e4m3(c, a, b0, b1);
    }
};

template <> struct weights<DT_I4> {
    enum { words = 1, steps = 4, x_bytes = 1024, run = 4 };
    typedef float sum;
    static __device__ __forceinline__ void fragment(const uint4 *v, int m, uint32_t a[4], const group_scales &s)
    {
        const uint32_t low = word_of(v[0], m / 2 * 2) >> m % 2 * 4, high = word_of(v[0], m / 2 * 2 + 1) >> m % 2 * 4;
        a[0] = i4_to_bf16(low, s.offset[0]);
        a[1] = i4_to_bf16(high, s.offset[1]);
        a[2] = i4_to_bf16(low >> 8, s.offset[0]);
        a[3] = i4_to_bf16(high >> 8, s.offset[1]);
    }
    static __device__ __forceinline__ void multiply(sum c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
    {
        mma_bf16(c, a, b0, b1);
    }
};

template <> struct weights<DT_I8G> {
    enum { words = 2, steps = 4, x_bytes = 1024, run = 2 };
    typedef float sum;
    static __device__ __forceinline__ void fragment(const uint4 *v, int m, uint32_t a[4], const group_scales &)
    {
        const uint32_t low = word_of(v[m / 2], m % 2 * 2), high = word_of(v[m / 2], m % 2 * 2 + 1);
        a[0] = i8_to_bf16(low);
        a[1] = i8_to_bf16(high);
        a[2] = i8_to_bf16(low >> 8);
        a[3] = i8_to_bf16(high >> 8);
    }
    static __device__ __forceinline__ void multiply(sum c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
    {
        mma_bf16(c, a, b0, b1);
    }
};

// Loads those of group `group` of a run. scales: behind the run's blocks.
template <enum dtype T>
static __device__ __forceinline__ group_scales load_group(const unsigned char *scales, int group, int g)
{
    group_scales s;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const int at = group * CUDA_TILE_ROWS + g + 8 * i;
        if (T == DT_I4) {
            const __half2 pair = reinterpret_cast<const __half2 *>(scales)[at];
            s.scale[i] = __low2float(pair);
            s.offset[i] = __float2bfloat162_rn(128.0f + __high2float(pair));
        } else {
            s.scale[i] = __half2float(reinterpret_cast<const __half *>(scales)[at]);
        }
    }
    return s;
}

// For half a block (32 inputs, two steps): whether a group begins or ends there, and the group's number in the unit.
template <int GROUP> static __device__ __forceinline__ bool group_begins(int block, int half)
{
    return (block * CUDA_BLOCK_COLS + half * 32) % GROUP == 0;
}
template <int GROUP> static __device__ __forceinline__ bool group_ends(int block, int half)
{
    return (block * CUDA_BLOCK_COLS + half * 32 + 32) % GROUP == 0;
}
template <int GROUP> static __device__ __forceinline__ int group_of(int block, int half)
{
    return (block * CUDA_BLOCK_COLS + half * 32) / GROUP;
}

// ---- shared memory ---------------------------------------------------------------------------------------

static __device__ __forceinline__ uint32_t shared_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}
static __device__ __forceinline__ void copy_async(uint32_t to, const void *from)
{
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}
static __device__ __forceinline__ void copies_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int LEFT> static __device__ __forceinline__ void copies_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}
// Loads b0 and b1 of two steps: four lines of 8 tokens. at: for lane 8 i + t, the address of token t of line i
static __device__ __forceinline__ void load_inputs(uint32_t at, uint32_t b[4])
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(b[0]), "=r"(b[1]), "=r"(b[2]), "=r"(b[3])
                 : "r"(at)
                 : "memory");
}

// Barriers that count arrivals. A phase ends with its last arrival; the first phase has parity 0.
static __device__ __forceinline__ void barrier_init(uint32_t at, int count)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(at), "r"(count) : "memory");
}
static __device__ __forceinline__ void barrier_arrive(uint32_t at)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(at) : "memory");
}
// Arrives when the thread's copies so far are complete.
static __device__ __forceinline__ void copies_arrive(uint32_t at)
{
    asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(at) : "memory");
}
#if __CUDA_ARCH__ >= 900
#define BARRIER_WAIT "mbarrier.try_wait.parity.shared::cta.b64"
#else
#define BARRIER_WAIT "mbarrier.test_wait.parity.shared::cta.b64"
#endif
static __device__ __forceinline__ void barrier_wait(uint32_t at, int parity)
{
    asm volatile("{\n"
                 ".reg .pred done;\n"
                 "again:\n" BARRIER_WAIT " done, [%0], %1;\n"
                 "@!done bra again;\n"
                 "}" ::"r"(at),
                 "r"(parity)
                 : "memory");
}

// Where sums go: a sum is scaled by its row and its token, and bias and the old element are added.
struct linear_out {
    const unsigned char *w;
    const float *bias, *x_scale;
    float *y;
    size_t ldy, tile_bytes;
    int rows, tokens;
    bool accumulate;
};

// The factors and addends of a sum. Values that the type or the job does not use are not read.
struct sum_factors {
    float row_scale, token_scale, bias, before;
};

template <enum dtype T>
static __device__ __forceinline__ float row_scale_of(const linear_out &out, int row)
{
    if (scales_rows(T))
        return __ldg(reinterpret_cast<const float *>(out.w + (size_t)(row / 16) * out.tile_bytes) + row % 16);
    return 1;
}

// No operation is fused here, so that every kernel rounds alike.
template <enum dtype T, typename SUM>
static __device__ __forceinline__ float finish_sum(const linear_out &out, SUM sum, const sum_factors &by)
{
    float v = (float)sum;
    if (scales_rows(T))
        v = __fmul_rn(v, by.row_scale);
    if (scales_tokens(T))
        v = __fmul_rn(v, by.token_scale);
    if (out.bias)
        v = __fadd_rn(v, by.bias);
    return out.accumulate ? __fadd_rn(by.before, v) : v;
}

// Stores a lane's sums: of rows `row` and `row` + 8, and of tokens `token` + 8 g and the next, for each g. The factors
// of RUN sums are requested before the first is used. Each is hundreds of cycles away, and one after the other they
// would take longer than the product itself.
template <enum dtype T, int RUN, typename SUM, int N>
static __device__ __forceinline__ void put_sums(const linear_out &out, int row, int token, const SUM (&sums)[N])
{
    sum_factors by[2] = {};
#pragma unroll
    for (int r = 0; r < 2; r++)
        if (row + 8 * r < out.rows) {
            by[r].row_scale = row_scale_of<T>(out, row + 8 * r);
            by[r].bias = out.bias ? __ldg(out.bias + row + 8 * r) : 0;
        }
    float *y = out.y + (size_t)token * out.ldy + row;
    const auto place = [&](int i) { return y + (size_t)(i / 4 * 8 + i % 2) * out.ldy + i / 2 % 2 * 8; };
    const auto there = [&](int i) {
        return row + i / 2 % 2 * 8 < out.rows && token + i / 4 * 8 + i % 2 < out.tokens;
    };
#pragma unroll
    for (int first = 0; first < N; first += RUN) {
        float scale[RUN] = {}, before[RUN] = {};
#pragma unroll
        for (int i = 0; scales_tokens(T) && i < RUN; i++)
            scale[i] = i / 2 % 2 ? scale[i - 2] // of the same token
                                 : __ldcg(out.x_scale + min(token + (first + i) / 4 * 8 + i % 2, out.tokens - 1));
        if (out.accumulate)
#pragma unroll
            for (int i = 0; i < RUN; i++)
                before[i] = there(first + i) ? __ldcg(place(first + i)) : 0;
#pragma unroll
        for (int i = 0; i < RUN; i++) {
            sum_factors own = by[i / 2 % 2];
            own.token_scale = scale[i];
            own.before = before[i];
            if (there(first + i))
                *place(first + i) = finish_sum<T>(out, sums[first + i], own);
        }
    }
}

static inline linear_out linear_out_of(const struct cuda_linear *job)
{
    linear_out out = {(const unsigned char *)job->w, job->bias,        job->x_scale, job->y, job->ldy,
                      job->layout.tile_bytes,        job->layout.rows, job->tokens,  job->accumulate};
    return out;
}

// The common fields of the jobs of linear_few.cu and linear_wide.cu.
template <typename JOB> static inline JOB linear_job_of(const struct cuda_linear *job)
{
    JOB to = {};
    to.out = linear_out_of(job);
    to.w = (const unsigned char *)job->w;
    to.x = (const unsigned char *)job->x;
    to.counters = (uint32_t *)job->partial;
    to.partial = (char *)job->partial + CUDA_COUNTERS * sizeof(uint32_t);
    to.header_bytes = job->layout.header_bytes;
    to.tiles = job->layout.tiles;
    to.units = job->layout.units;
    to.groups = cuda_padded_tokens(job->tokens) / CUDA_GROUP_TOKENS;
    return to;
}

// The kernels for few tokens and for many, by weight type; T is not DT_F32. They are in linear_few.cu, linear_many.cu
// and, for Hopper, linear_wide.cu.
template <enum dtype T> void cuda_linear_few(const struct cuda_linear *job, cudaStream_t stream);
template <enum dtype T> void cuda_linear_many(const struct cuda_linear *job, cudaStream_t stream);
template <enum dtype T> void cuda_linear_wide(const struct cuda_linear *job, cudaStream_t stream);
