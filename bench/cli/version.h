// version.h - the version of this source, for --version and the build record.
#ifndef BENCH_CLI_VERSION_H
#define BENCH_CLI_VERSION_H

#define BENCH_VERSION "0.1.0"

#endif
