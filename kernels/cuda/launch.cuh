// launch.cuh - shared by all launchers: a record of the first failed launch, attributes of the device, and launches
// that overlap the end of the kernel before them.
#pragma once

#include <cuda_runtime.h>

// Records a failure of the last launch. Called after each launch. In launch.cu.
void cuda_launched(void);

static inline int ceil_div(int a, int b)
{
    return (a + b - 1) / b;
}

// Records a failed launch for a job that no variant of a kernel can run.
void cuda_launch_refused(void);

// An attribute of the current device, cached after the first call. In launch.cu.
int cuda_attribute(cudaDeviceAttr attribute);

// Whether the current device runs the code for sm_90a, which is in every build. No later device has wgmma.
static inline bool cuda_has_wgmma()
{
    return cuda_attribute(cudaDevAttrComputeCapabilityMajor) == 9;
}

// Launches a kernel whose blocks may start before the previous kernel on the stream has ended (programmatic dependent
// launch, from sm_90 on). Each block of such a kernel calls previous_wait before it reads what an earlier kernel wrote,
// or writes what one reads. When previous_wait returns, all earlier kernels have ended.
// cluster: the blocks that form a cluster, from sm_90 on.
template <typename... PARAMETERS, typename... ARGUMENTS>
static inline void launch_early_clusters(void (*kernel)(PARAMETERS...), dim3 grid, dim3 cluster, int threads,
                                         int shared_bytes, cudaStream_t stream, const ARGUMENTS &...arguments)
{
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute attributes[2] = {};
    attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[0].val.programmaticStreamSerializationAllowed = 1;
    attributes[1].id = cudaLaunchAttributeClusterDimension;
    attributes[1].val.clusterDim.x = cluster.x;
    attributes[1].val.clusterDim.y = cluster.y;
    attributes[1].val.clusterDim.z = cluster.z;
    config.gridDim = grid;
    config.blockDim = dim3(threads);
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    config.attrs = attributes;
    const bool clustered = cluster.x * cluster.y * cluster.z > 1;
    config.numAttrs = cuda_attribute(cudaDevAttrComputeCapabilityMajor) < 9 ? 0 : clustered ? 2 : 1;
    cudaLaunchKernelEx(&config, kernel, arguments...);
    cuda_launched();
}
template <typename... PARAMETERS, typename... ARGUMENTS>
static inline void launch_early(void (*kernel)(PARAMETERS...), dim3 grid, int threads, int shared_bytes,
                                cudaStream_t stream, const ARGUMENTS &...arguments)
{
    launch_early_clusters(kernel, grid, dim3(1), threads, shared_bytes, stream, arguments...);
}

// Lets blocks of the next kernel start wherever there is room.
static __device__ __forceinline__ void next_may_start()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Waits until the previous kernel has ended and its writes are visible.
static __device__ __forceinline__ void previous_wait()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
