// stream_avx512.c - reads, copies and combines arrays as fast as possible with 512-bit registers.
#include "kernels/variants.h"
#include "kernels/x86/lanes_avx512.h"
#include "kernels/x86/stream_lanes.h"

STREAM_VARIANT(k_read_f32_f32_avx512, stream_read)
STREAM_VARIANT(k_copy_f32_f32_avx512, stream_copy)
STREAM_VARIANT(k_triad_f32_f32_avx512, stream_triad)
