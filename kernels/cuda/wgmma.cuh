// wgmma.cuh - Hopper's asynchronous products, with weights in registers and inputs in shared memory, and the copies and
// barriers that feed them. For sm_90a only.
//
// D has 64 rows and N tokens for a group of four warps. Warp w holds rows 16 w .. 16 w + 15, in the order of mma.sync.
// Source: PTX ISA 8.x, wgmma.mma_async, mbarrier and cp.async.bulk
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/fragments.cuh"

#define WG_8(c, i) c(i), c(i + 1), c(i + 2), c(i + 3), c(i + 4), c(i + 5), c(i + 6), c(i + 7)
#define WG_16(c, i) WG_8(c, i), WG_8(c, i + 8)
#define WG_32(c, i) WG_8(c, i), WG_8(c, i + 8), WG_8(c, i + 16), WG_8(c, i + 24)
#define WG_64(c, i) WG_32(c, i), WG_32(c, i + 32)
#define WG_128(c, i) WG_64(c, i), WG_64(c, i + 64)
#define WG_FLOAT(i) "+f"(d[i])
#define WG_INT(i) "+r"(d[i])
#define WG_D16 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define WG_D32                                                                                                         \
    "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,"   \
    "%30,%31"
#define WG_D64                                                                                                         \
    WG_D32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57," \
           "%58,%59,%60,%61,%62,%63"
#define WG_D128                                                                                                        \
    WG_D64 ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,%86,%87,%88,%89," \
           "%90,%91,%92,%93,%94,%95,%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,%112," \
           "%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"
#define WG_A16 "{%16,%17,%18,%19}, %20"
#define WG_A32 "{%32,%33,%34,%35}, %36"
#define WG_A64 "{%64,%65,%66,%67}, %68"
#define WG_A128 "{%128,%129,%130,%131}, %132"

#define WG_KEEP16 "%21"
#define WG_KEEP32 "%37"
#define WG_KEEP64 "%69"
#define WG_KEEP128 "%133"

// One step: 16 inputs of 16 bits, or 32 inputs of 8 bits. KEEP: 1 adds to d, 0 replaces it.
#define WG_STEP(shape, types, scales, N, c)                                                                            \
    asm volatile("wgmma.mma_async.sync.aligned." shape "." types " {" WG_D##N "}, " WG_A##N ", " WG_KEEP##N scales ";" \
                 : WG_##N(c, 0)                                                                                        \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(KEEP))

template <enum dtype T, int N> struct wide_product;
#define WIDE_PRODUCT(T, tokens, N, sum, shape, types, scales, c)                                                       \
    template <> struct wide_product<T, tokens> {                                                                       \
        template <int KEEP = 1>                                                                                        \
        static __device__ __forceinline__ void step(sum(&d)[N], const uint32_t a[4], uint64_t b)                      \
        {                                                                                                              \
            WG_STEP(shape, types, scales, N, c);                                                                       \
        }                                                                                                              \
    }
#if __CUDA_ARCH_FEAT_SM90_ALL
#define WIDE_16(T, types)                                                                                              \
    WIDE_PRODUCT(T, 32, 16, float, "m64n32k16", types, ", 1, 1, 0", WG_FLOAT);                                         \
    WIDE_PRODUCT(T, 64, 32, float, "m64n64k16", types, ", 1, 1, 0", WG_FLOAT);                                         \
    WIDE_PRODUCT(T, 128, 64, float, "m64n128k16", types, ", 1, 1, 0", WG_FLOAT);                                       \
    WIDE_PRODUCT(T, 256, 128, float, "m64n256k16", types, ", 1, 1, 0", WG_FLOAT)
WIDE_16(DT_BF16, "f32.bf16.bf16");
WIDE_16(DT_F8E4M3, "f32.bf16.bf16");
WIDE_16(DT_I4, "f32.bf16.bf16");
WIDE_16(DT_I8G, "f32.bf16.bf16");
WIDE_16(DT_F16, "f32.f16.f16");
WIDE_PRODUCT(F8_BY_F8, 32, 16, float, "m64n32k32", "f32.e4m3.e4m3", ", 1, 1", WG_FLOAT);
WIDE_PRODUCT(F8_BY_F8, 64, 32, float, "m64n64k32", "f32.e4m3.e4m3", ", 1, 1", WG_FLOAT);
WIDE_PRODUCT(F8_BY_F8, 128, 64, float, "m64n128k32", "f32.e4m3.e4m3", ", 1, 1", WG_FLOAT);
WIDE_PRODUCT(DT_I8, 32, 16, int, "m64n32k32", "s32.s8.s8", "", WG_INT);
WIDE_PRODUCT(DT_I8, 64, 32, int, "m64n64k32", "s32.s8.s8", "", WG_INT);
WIDE_PRODUCT(DT_I8, 128, 64, int, "m64n128k32", "s32.s8.s8", "", WG_INT);
WIDE_PRODUCT(DT_I8, 256, 128, int, "m64n256k32", "s32.s8.s8", "", WG_INT);

// The descriptor of a step's inputs in shared memory: lines of 8 tokens are 128 bytes apart, groups of tokens
// group_bytes.
static __device__ __forceinline__ uint64_t wide_inputs(uint32_t at, int group_bytes)
{
    return (uint64_t)(at >> 4 & 0x3fff) | (uint64_t)(128 >> 4) << 16 | (uint64_t)(group_bytes >> 4) << 32;
}
static __device__ __forceinline__ void wide_begin()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
static __device__ __forceinline__ void products_commit()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Waits until at most LEFT groups of products are in flight.
template <int LEFT> static __device__ __forceinline__ void products_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}
static __device__ __forceinline__ void wide_end()
{
    products_commit();
    products_wait<0>();
}

// ---- bulk copies that report to barriers in shared memory -------------------------------------------------

static __device__ __forceinline__ void barrier_expect(uint32_t at, int bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(at), "r"(bytes) : "memory");
}
static __device__ __forceinline__ void copy_bulk(uint32_t to, const void *from, int bytes, uint32_t barrier)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
                 "l"(from), "r"(bytes), "r"(barrier)
                 : "memory");
}
#endif
