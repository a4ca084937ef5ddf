// stream_avx2.c - reads, copies and combines arrays as fast as possible with 256-bit registers.
#include "kernels/variants.h"
#include "kernels/x86/lanes_avx2.h"
#include "kernels/x86/stream_lanes.h"

STREAM_VARIANT(k_read_f32_f32_avx2, stream_read)
STREAM_VARIANT(k_copy_f32_f32_avx2, stream_copy)
STREAM_VARIANT(k_triad_f32_f32_avx2, stream_triad)
