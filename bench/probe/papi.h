// papi.h - the calls of PAPI that counters_papi.c makes, which tests replace by a script.
#ifndef BENCH_PROBE_PAPI_H
#define BENCH_PROBE_PAPI_H

// Each is the function of the library that its name says; 0 is success, errors are negative.
struct papi_calls {
    int version; // that it was compiled against
    int (*is_initialized)(void);
    int (*init)(int version);
    int (*create)(int *set);
    int (*assign_component)(int set, int component);
    int (*attach)(int set, unsigned long thread);
    int (*add_named)(int set, const char *event);
    int (*start)(int set);
    int (*stop)(int set, long long *values);
    int (*cleanup)(int set);
    int (*destroy)(int *set);
    char *(*error_text)(int code);
};

#endif
