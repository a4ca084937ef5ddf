// version.h - the version of this source, for --version and the build record.
#ifndef BENCH_CLI_VERSION_H
#define BENCH_CLI_VERSION_H

#define BENCH_VERSION      "0.1.0"
#define BENCH_VERSION_DATE "2026-11-29" // of the manual page

#endif
