// erfc_series.h - erfc(z) for z >= 0 as t exp(-z^2 + p(t)), t = 1 / (1 + z / 2), p of degree 9.
//
// The polynomial is fitted at 200 Chebyshev nodes of t for z from 0 to 10; beyond 10 the result is too small for
// f32. The relative error of the result is 2^-22.6 with coefficients and sums in f32.
#ifndef KERNELS_X86_ERFC_SERIES_H
#define KERNELS_X86_ERFC_SERIES_H

enum { ERFC_TERMS = 10 };

static const float erfc_series[ERFC_TERMS] = {
    -1.26551092f, 1.00000846f,  0.374037772f, 0.0982929468f, -0.195190072f,
    0.304992914f, -1.17874980f, 1.53038800f,  -0.843814850f, 0.175545633f,
};

#endif
