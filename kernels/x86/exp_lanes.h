// exp_lanes.h - exp and the soft cap of one register of f32; relative error of exp below 2^-22.
//
// x = n ln 2 + r with |r| <= ln 2 / 2 and ln 2 in two parts (Cody and Waite 1980). exp r is its series to
// r^6, whose remainder is below 2^-22.9. Scaling by 2^n gives 0 and infinity at the ends. NaN stays NaN.
#ifdef KERNELS_X86_LANES
#ifndef KERNELS_X86_EXP_LANES_H
#define KERNELS_X86_EXP_LANES_H

INLINE f32s exp_lanes(f32s x)
{
    const f32s per_ln2 = f32_all(1.44269504f);
    const f32s ln2_high = f32_all(0.693145752f), ln2_low = f32_all(1.42860677e-6f);
    // Beyond +-150 the result is 0 or infinity; f32_scale takes n up to 254.
    x = f32_max(f32_all(-150.0f), f32_min(f32_all(150.0f), x));
    f32s n = f32_round(f32_mul(x, per_ln2));
    f32s r = f32_fnma(n, ln2_low, f32_fnma(n, ln2_high, x));
    f32s p = f32_all(1.0f / 720);
    p = f32_fma(p, r, f32_all(1.0f / 120));
    p = f32_fma(p, r, f32_all(1.0f / 24));
    p = f32_fma(p, r, f32_all(1.0f / 6));
    p = f32_fma(p, r, f32_all(0.5f));
    p = f32_fma(p, r, f32_all(1.0f));
    p = f32_fma(p, r, f32_all(1.0f));
    return f32_scale(p, n);
}

// cap tanh(x / cap), with tanh(z) = 1 - 2 / (exp(2 z) + 1).
INLINE f32s softcap_lanes(f32s x, float cap)
{
    const f32s one = f32_all(1.0f);
    f32s e = exp_lanes(f32_mul(x, f32_all(2 / cap)));
    f32s tanh = f32_sub(one, f32_div(f32_all(2.0f), f32_add(e, one)));
    return f32_mul(tanh, f32_all(cap));
}

#endif
#endif
