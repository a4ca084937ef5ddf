// attention.c - how much scratch an attention call needs, whichever variant runs it.
#include "kernels/attention.h"

size_t kernel_attention_scratch(int tokens, int group, int head_dim)
{
    size_t rows = (size_t)tokens * (size_t)group;
    int block = rows < ATTENTION_ROWS ? (int)rows : ATTENTION_ROWS;
    size_t fast = attention_floats(block, attention_pad(head_dim)) * sizeof(float);
    size_t portable = (size_t)head_dim * sizeof(double);
    return (fast > portable ? fast : portable) +
           PANEL_ALIGN; // any alignment of the scratch will do
}
