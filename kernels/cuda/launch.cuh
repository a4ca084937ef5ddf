// launch.cuh - what all launchers share: the first failed launch is kept until it is asked for.
#pragma once

#include <cuda_runtime.h>

// After each launch. In launch.cu.
void cuda_launched(void);

static inline int ceil_div(int a, int b)
{
    return (a + b - 1) / b;
}
