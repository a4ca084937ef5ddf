// variants.h - declares every kernel function, from the same rows the registry is made of.
//
// For the files inside kernels/ only: everyone else goes through kernel_find(). A row is one line of a
// rows.def file, KERNEL(kind, op, w, x, isa, function), where `kind` names the member of kernel_fn.
#ifndef KERNELS_VARIANTS_H
#define KERNELS_VARIANTS_H

#include "kernels/kernels.h"

#define KERNEL(kind, op, w, x, isa, function) k_##kind##_fn function;
#include "kernels/ref/rows.def"
#include "kernels/x86/rows.def"
#include "kernels/arm/rows.def"
#undef KERNEL

#endif
