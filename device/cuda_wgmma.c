// cuda_wgmma.c - PTX that keeps Hopper's tensor cores busy, with operands in shared memory.
//
// A multiprocessor runs two warpgroups. A round of a warpgroup is 8 products of 64 x 128, each over 32 bytes of inputs,
// from 4 tiles of random operands. The place of an operand in a tile does not matter: values are random, and the order
// of the tiles causes no bank conflicts. Loops generate the text, because each product names 64 registers.
// Source: PTX ISA 8.0, wgmma.mma_async
#include "device/cuda_driver.h"

#include "base/str.h"

enum {
    SUMS = 64,          // registers per thread
    TILES = 4,          // tiles of each operand
    A_BYTES = 64 * 32,  // of a tile
    B_BYTES = 128 * 32, //
    TILE_BYTES = A_BYTES + B_BYTES,
    ALL_BYTES = TILES * TILE_BYTES,
    UNROLL = 2,         // passes over all tiles in a round
    LEADING = 128 >> 4, // step from one 8 x 16 bytes of a tile to the next along the inputs
    STRIDE = 256 >> 4,  // the same along the rows
};

static const struct datapath {
    const char *name, *shape, *types, *sum, *modifiers;
    unsigned mask; // bits allowed in each word of the operands
} datapaths[] = {
    {"bf16", "m64n128k16", "f32.bf16.bf16", "f32", ", 1, 1, 0, 0", 0xffffffffu},
    {"fp8", "m64n128k32", "f32.e4m3.e4m3", "f32", ", 1, 1", 0xbfbfbfbfu}, // below 2: no NaN
    {"int8", "m64n128k32", "s32.s8.s8", "s32", "", 0xffffffffu},
    {"tf32", "m64n128k8", "f32.tf32.tf32", "f32", ", 1, 1", 0xffffffffu},
};

static void fill_tiles(struct str *s, const struct datapath *d)
{
    str_printf(s,
               "mov.u32 %%own, %%tid.x;\nmul.wide.u32 %%at, %%own, 16;\nadd.u64 %%a, %%a, %%at;\n"
               "mov.u32 %%tiles, tile;\nshl.b32 %%own, %%own, 4;\nadd.u32 %%to, %%tiles, %%own;\n");
    for (int at = 0; at < ALL_BYTES; at += CUDA_WGMMA_THREADS * 16) {
        str_printf(s, "ld.global.v4.u32 {%%v0, %%v1, %%v2, %%v3}, [%%a+%d];\n", at);
        for (int i = 0; i < 4; i++)
            str_printf(s, "and.b32 %%v%d, %%v%d, %u;\n", i, i, d->mask);
        str_printf(s, "st.shared.v4.u32 [%%to+%d], {%%v0, %%v1, %%v2, %%v3};\n", at);
    }
    str_append(s, "fence.proxy.async.shared::cta;\nbar.sync 0;\n");
}

// Computes %a<i> and %b<i>, the descriptors of tile i. Addresses are in units of 16 bytes.
static void describe_tiles(struct str *s)
{
    unsigned long long fixed = (unsigned long long)LEADING << 16 | (unsigned long long)STRIDE << 32;
    for (int i = 0; i < 2 * TILES; i++) {
        int at = i < TILES ? i * A_BYTES : TILES * A_BYTES + (i - TILES) * B_BYTES;
        str_printf(s,
                   "add.u32 %%to, %%tiles, %d;\nshr.u32 %%to, %%to, 4;\ncvt.u64.u32 %%at, %%to;\n"
                   "or.b64 %%%c%d, %%at, %llu;\n",
                   at, i < TILES ? 'a' : 'b', i % TILES, fixed);
    }
}

static void multiply(struct str *s, const struct datapath *d, int tile)
{
    str_printf(s, "wgmma.mma_async.sync.aligned.%s.%s {", d->shape, d->types);
    for (int i = 0; i < SUMS; i++)
        str_printf(s, "%s%%c%d", i ? ", " : "", i);
    str_printf(s, "}, %%a%d, %%b%d, %%yes%s;\n", tile, tile, d->modifiers);
}

static void write_kernel(struct str *s, const struct datapath *d)
{
    const char *sum = d->sum;
    str_printf(
        s,
        ".visible .entry probe_wgmma_%s(.param .u64 from, .param .u64 to, .param .u64 bytes)\n"
        "{\n.shared .align 128 .b8 tile[%d];\n.reg .u64 %%a, %%out, %%at, %%a<%d>, %%b<%d>;\n"
        ".reg .u32 %%own, %%to, %%tiles, %%left, %%v<4>;\n.reg .pred %%yes, %%more;\n"
        ".reg .%s %%c<%d>;\nld.param.u64 %%a, [from];\nld.param.u64 %%out, [to];\n"
        "setp.eq.u32 %%yes, 0, 0;\n",
        d->name, (int)ALL_BYTES, (int)TILES, (int)TILES, sum, (int)SUMS);
    fill_tiles(s, d);
    describe_tiles(s);
    for (int i = 0; i < SUMS; i++)
        str_printf(s, "mov.b32 %%c%d, 0;\n", i);
    str_printf(s, "mov.u32 %%left, %d;\nLOOP:\nwgmma.fence.sync.aligned;\n", CUDA_WGMMA_ROUNDS);
    for (int i = 0; i < UNROLL * TILES; i++)
        multiply(s, d, i % TILES);
    str_append(s, "wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\n"
                  "sub.u32 %left, %left, 1;\nsetp.ne.u32 %more, %left, 0;\n@%more bra LOOP;\n");
    for (int i = 1; i < SUMS; i++)
        str_printf(s, "add.%s %%c0, %%c0, %%c%d;\n", sum, i);
    str_append(s, "mov.u32 %own, %ctaid.x;\nmov.u32 %to, %ntid.x;\nmov.u32 %left, %tid.x;\n"
                  "mad.lo.u32 %own, %own, %to, %left;\nmul.wide.u32 %at, %own, 4;\n"
                  "add.u64 %out, %out, %at;\nst.global.b32 [%out], %c0;\nret;\n}\n");
}

char *cuda_wgmma_ptx(void)
{
    struct str s = {0};
    str_append(&s, ".version 8.0\n.target sm_90a\n.address_size 64\n");
    for (size_t i = 0; i < sizeof datapaths / sizeof *datapaths; i++)
        write_kernel(&s, &datapaths[i]);
    return str_take(&s);
}
