#!/bin/bash
# shellcheck disable=SC2016 # the dollars in the programs below are awk's
# lint.sh - the rules of the house that a compiler does not know.
#
# lint.sh [RULE...]: layers, circles, names, seams, headers, format, sizes, habits, prose; all of them when none is
# named. Every violation is one line "file:line: what"; exit 1 when there is one. Ends with "N passed, N failed,
# N skipped", counted in rules. Environment: CFLAGS, the include flags of the libraries.
set -u
cd "$(dirname "$0")/.." || exit 1
passed=0 failed=0 skipped=0

# Tracked files and new ones that git does not ignore; all of them where there is no git.
sources() { # SUFFIXES
    if git rev-parse --git-dir >/dev/null 2>&1; then
        git ls-files -co --exclude-standard -- "${@/#/*.}" | while read -r f; do [ -e "$f" ] && echo "$f"; done
    else
        for suffix; do find . -name "*.$suffix" -not -path './build*' | sed 's|^\./||'; done
    fi
}

# Who may include whom. A file's room is the longest folder of the table below that its path begins with. It sees itself
# and what its row lists: rooms, single headers, or "ROOM/..." for a room with all below it.
lint_rooms='
base:
device: base
kernels: base device kernels/...
kernels/ref: base device kernels
kernels/x86: base device kernels
kernels/arm: base device kernels
kernels/cuda: base device kernels kernels/ref
results: base
report: base results
engine/engine.h: base device/device.h kernels/kernels.h
engine/backend.h: base device/device.h kernels/kernels.h engine/engine.h
engine: base device/device.h kernels/kernels.h kernels/quant.h engine/...
engine/model: base device/device.h kernels/kernels.h kernels/quant.h engine/engine.h engine/backend.h
engine/text: base engine/engine.h
engine/load: base kernels/kernels.h kernels/quant.h engine/engine.h engine/model engine/text engine/load/...
engine/load/gguf: base kernels/kernels.h kernels/quant.h engine/engine.h engine/model engine/text engine/load engine/load/quantized
engine/load/hf: base kernels/kernels.h kernels/quant.h engine/engine.h engine/model engine/text engine/load engine/load/quantized
engine/load/quantized: base kernels/kernels.h kernels/quant.h engine/engine.h engine/model engine/load
engine/quantize: base device/device.h kernels/kernels.h kernels/quant.h engine/engine.h engine/backend.h engine/model engine/load engine/load/quantized engine/load/hf
engine/save: base kernels/kernels.h kernels/quant.h engine/engine.h engine/model engine/text engine/load engine/load/gguf
engine/cpu: base device/device.h kernels/kernels.h kernels/quant.h engine/engine.h engine/backend.h engine/model engine/load/source.h
engine/cuda: base device/device.h device/cuda.h kernels/kernels.h kernels/quant.h kernels/cuda/cuda.h kernels/cuda/library.h engine/engine.h engine/backend.h engine/model engine/load/source.h
engine/metal: base device/device.h kernels/kernels.h kernels/quant.h engine/engine.h engine/backend.h engine/model engine/load/source.h
bench: base
bench/probe: base device/device.h kernels/kernels.h results
bench/roof: base device/device.h kernels/kernels.h engine/engine.h results bench/probe
bench/quality: base device/device.h engine/engine.h results
bench/suite: base device/device.h engine/engine.h results bench/quality bench/roof bench/probe
bench/protocol: base engine/engine.h results bench/suite bench/roof bench/probe
bench/engines: base device/device.h engine/engine.h results bench/protocol bench/suite bench/roof bench/probe
bench/worker: base device/device.h engine/engine.h results bench/engines bench/protocol bench/suite/plan.h bench/suite/prompt_word.h bench/probe bench/roof bench/quality
bench/run: base device/device.h engine/engine.h results bench bench/protocol bench/suite bench/probe bench/roof bench/quality
bench/cli: base device/device.h engine/engine.h kernels/kernels.h results report bench bench/...
tests: base device kernels/... engine/... results report bench/... tests/...
'
lint_layers() {
    sources c h cu cuh | xargs awk -v rooms="$lint_rooms" '
        function deny(why) { printf "%s:%d: %s\n", FILENAME, FNR, why; bad = 1 }
        # The longest row that the path is, or is below.
        function room_of(path,   at) {
            for (at = path; at != ""; at = at ~ /\// ? substr(at, 1, match(at, /\/[^\/]*$/) - 1) : "")
                if (at in sees) return at
            return ""
        }
        function folder(path) { return path ~ /\// ? substr(path, 1, match(path, /\/[^\/]*$/) - 1) : "" }
        function may(room, header,   words, n, i, to, above) {
            to = folder(header)
            # Folders of tests without a row of their own belong to the room above.
            if (room_of(header) == room || to == room) return 1
            n = split(sees[room], words, " ")
            for (i = 1; i <= n; i++) {
                if (words[i] == header || words[i] == to) return 1
                above = words[i]
                if (sub(/\/\.\.\.$/, "", above) && (to == above || index(to, above "/") == 1)) return 1
            }
            return 0
        }
        BEGIN {
            n = split(rooms, line, "\n")
            for (i = 1; i <= n; i++)
                if (split(line[i], part, ":") == 2) sees[part[1]] = part[2]
        }
        FNR == 1 {
            room = room_of(FILENAME)
            if (room == "") deny("no room of the table in tools/lint.sh has this file")
            # What a folder may see is decided for it, not inherited from a room that sees all its folders.
            if (room ~ /^(bench|engine|kernels)$/ && folder(FILENAME) != room)
                deny("folder " folder(FILENAME) " has no row in the table of rooms in tools/lint.sh")
        }
        /^ *# *include "/ {
            split($0, part, "\""); header = part[2]
            if (header ~ /^build_info\.h$/ && room ~ /^bench/) next # generated, see tools/build_info.sh
            if (FILENAME == "report/glossary.c" && header == "glossary.h") next # generated, see tools/glossary.sh
            if (header !~ /\//) deny("include \"" header "\": write the path from the root")
            else if (!may(room, header)) deny(room " may not include " header)
        }
        /^ *# *include </ {
            split($0, part, /[<>]/); header = part[2]
            if (header ~ /^sqlite3/ && room != "results" && room != "tests") deny("SQLite belongs to results")
            if (header ~ /^ini\.h/ && room != "bench/suite" && room != "tests") deny("inih belongs to bench/suite")
            if (header ~ /^(pcre2|utf8proc)/ && FILENAME !~ /^(engine\/text|tests)\//)
                deny(header " belongs to engine/text")
            if (header ~ /^papi/ && FILENAME !~ /^(bench\/probe|tests)\//) deny("PAPI belongs to bench/probe")
            if (header ~ /^openssl/ && room != "base") deny("libcrypto is behind base/hash.h")
            if (header ~ /intrin\.h$|^arm_/ && FILENAME !~ /^(kernels|bench\/probe|tests)\//)
                deny("intrinsics belong to kernels")
        }
        END { exit bad }'
}

# The picture that the includes draw. Rooms are the folders of bench/ and engine/ and every other top folder; a folder
# further down belongs to its room. No arrows make a circle, and the first room of a row never reaches the second, not
# through others either. Calibration (engine/quantize) stays above the models it measures in this way. No backend
# reaches another.
lint_backends='engine/cpu engine/cuda engine/metal'
lint_apart='
engine/model engine/load
engine/model engine/quantize
engine/load engine/quantize
'
lint_circles() {
    sources c h cu cuh | grep -v '^tests/' | xargs awk -v apart="$lint_apart" -v backends="$lint_backends" '
        # The two headers on top of engine/ are what all below see; the files next to them see all below.
        function room_of(path,   part, n) {
            if (path == "engine/engine.h" || path == "engine/backend.h") return path
            n = split(path, part, "/")
            return n > 2 && part[1] ~ /^(bench|engine)$/ ? part[1] "/" part[2] : part[1]
        }
        # Follows the arrows from `at`, depth first; a room met again on the way is a circle.
        function follow(at, way,   i, n, to) {
            state[at] = "open"
            n = split(arrows[at], to, " ")
            for (i = 1; i <= n; i++)
                if (state[to[i]] == "open") {
                    print place[at, to[i]] ": a circle of rooms: " substr(way, index(way, to[i])) " -> " to[i]
                    bad = 1
                } else if (state[to[i]] == "") follow(to[i], way " -> " to[i])
            state[at] = "done"
        }
        # The arrows from `at` to `to`, as text; "" when there is no way.
        function way_to(at, to,   i, n, next_room, rest) {
            if (at == to) return at
            seen[at] = 1
            n = split(arrows[at], next_room, " ")
            for (i = 1; i <= n; i++)
                if (!(next_room[i] in seen) && (rest = way_to(next_room[i], to)) != "") return at " -> " rest
            return ""
        }
        /^ *# *include "[^"]*\// {
            split($0, part, "\"")
            from = room_of(FILENAME); to = room_of(part[2])
            if (from != to && !((from, to) in place)) {
                place[from, to] = FILENAME ":" FNR
                arrows[from] = arrows[from] " " to
                count++
            }
        }
        END {
            for (room in arrows) if (state[room] == "") follow(room, room)
            count_of = split(backends, name, " ")
            for (i = 1; i <= count_of; i++)
                for (j = 1; j <= count_of; j++)
                    if (i != j) apart = apart name[i] " " name[j] "\n"
            rows = split(apart, row, "\n")
            for (i = 1; i <= rows; i++) {
                if (split(row[i], pair, " ") != 2) continue
                split("", seen)
                if ((way = way_to(pair[1], pair[2])) != "") {
                    print "tools/lint.sh:1: " pair[1] " must not see " pair[2] ": " way
                    bad = 1
                }
            }
            printf "%d arrows between rooms\n", count
            exit bad
        }'
}

# The prefixes of global functions and tables. A row has one room, or rooms that share their prefixes, and a file
# belongs to the longest row that its path begins with. It uses that row's prefixes and those of the rooms above.
# No prefix is in two rows.
lint_prefixes='
base: aligned arena bind cgroup clock deal error f16 file format hash home interrupt json log os owner plain pool size stat status str table words
device: device
device/cuda kernels/cuda engine/cuda: cuda gpu
kernels: k kernel quant dtype
engine: engine backend checkpoint context model op_class phase scheme storage tensor tokenizer
engine/model: alibi arch cost kv logits observe rope route sampler sampling weight weights
engine/text: added bpe byte_level normalizer pre pretok regex unicode utf8
engine/load: inspect source stored synthetic
engine/load/hf: hf safetensors
engine/load/gguf engine/save: gguf
engine/load/quantized: quantized
engine/quantize: awq calib flow fold layer moments overlay quantize quantizer shards targets
engine/cpu: cpu
engine/metal: metal
results: db export metric query row rows schema spread store
report: gnuplot html page picture pictures report
bench/cli: cli command main
bench/suite: axis expand ini links option options plan predict rules suite value
bench/run: child live record runner session trace trial
bench/worker: count instrument instruments measure repetition timeline worker
bench/engines: bench_engine
bench/protocol: event job protocol wire
bench/probe: canary counter counters machine perf state stream system topology uncore
bench/roof: bound ceilings work
bench/quality: quality
'
# A global name is what a file defines without `static`, in the first column. In CUDA files that takes in templates and
# kernels, unless they lie in a namespace without a name; a .cuh also declares them.
lint_names() {
    sources c cu cuh | grep -v '^tests/' | xargs awk -v rows="$lint_prefixes" '
        function deny(why) { printf "%s:%d: %s\n", FILENAME, FNR, why; bad = 1 }
        function check(name,   words, n, i) {
            globals++
            n = split(prefixes, words, " ")
            for (i = 1; i <= n; i++) if (name == words[i] || index(name, words[i] "_") == 1) return
            deny(name " begins with no prefix of its room:" prefixes)
        }
        # The prefixes of the longest row that the path begins with, and those of the rooms above that row.
        function prefixes_of(path,   place, longest, all) {
            for (place in prefix_of) if (index(path, place) == 1 && length(place) > length(longest)) longest = place
            for (place in prefix_of) if (index(longest "/", place "/") == 1) all = all prefix_of[place]
            return all
        }
        BEGIN {
            rooms = split(rows, line, "\n")
            for (i = 1; i <= rooms; i++) {
                if (split(line[i], part, ":") != 2) continue
                count = split(part[2], words, " ")
                for (j = 1; j <= count; j++)
                    if (owned[words[j]]++) { print "tools/lint.sh:1: prefix " words[j] " is in two rows"; bad = 1 }
                count = split(part[1], places, " ")
                for (j = 1; j <= count; j++) prefix_of[places[j]] = part[2]
            }
        }
        FNR == 1 { prefixes = prefixes_of(FILENAME); hidden = 0; cuda = FILENAME ~ /\.cuh?$/ }
        /^namespace \{/ { hidden = 1 }
        /^\} *\/\/ namespace/ { hidden = 0 }
        {
            code = $0
            gsub(/\[[^]]*\]/, "", code)
            # What stands before the type of a template, a kernel or a function with C linkage.
            if (cuda) while (sub(/^(template *(<[^>]*>)?|extern "C"|inline|__[a-z_]+__(\([^)]*\))?) */, "", code)) continue
            if (cuda) sub(/<[^>]*>\(/, "(", code) # an instance of a template
            if (cuda) gsub(/__[a-z_]+__(\([^)]*\))? */, "", code)
        }
        code ~ /^[a-z]/ && !hidden && code !~ /^(static|typedef|extern|using|namespace) / &&
        code !~ /^(struct|enum|union)( [a-z_0-9]+)?(<[^>]*>)? *[{;]/ {
            if (match(code, /[ *][a-z_0-9]+\(/)) check(substr(code, RSTART + 1, RLENGTH - 2))
            else if (match(code, /[ *][a-z_0-9]+ *(=|;)/)) {
                code = substr(code, RSTART + 1, RLENGTH - 2)
                sub(/ .*/, "", code)
                check(code)
            }
        }
        END { print globals " global names"; exit bad }'
}

# A global function that no product file calls has "Tests only" in the comment of its declaration, and only such a
# function has. Heads of functions begin in the first column; the first name before a parenthesis there is theirs.
lint_seams() {
    sources c h cu cuh def | grep -v '^tests/' | xargs awk '
        { code = $0; sub(/\/\/.*/, "", code); gsub(/"([^"\\]|\\.)*"/, "", code); head = "" }
        FNR == 1 { marked = 0 }
        /^\/\// { if (/Tests only/) marked = 1; next }
        code ~ /^[a-z]/ && match(code, /[a-z_0-9]+\(/) {
            head = substr(code, RSTART, RLENGTH - 1)
            code = substr(code, 1, RSTART - 1) substr(code, RSTART + RLENGTH)
            if (FILENAME ~ /h$/) {
                if (marked || /\/\/.*Tests only/) seam[head] = FILENAME ":" FNR
            } else if (FILENAME !~ /\.def$/ && $0 !~ /^(static|typedef|extern) / && head != "main") {
                place[head] = FILENAME ":" FNR
            }
        }
        { marked = 0 }
        { while (match(code, /[A-Za-z_0-9]+/)) {
            used[substr(code, RSTART, RLENGTH)] = 1
            code = substr(code, RSTART + RLENGTH)
        } }
        END {
            for (name in place)
                if (!(name in used) && !(name in seam)) {
                    print place[name] ": " name " is called by no product file: use it, remove it, or mark it Tests only"
                    bad = 1
                }
            for (name in seam)
                if (name in used) { print seam[name] ": " name " is marked Tests only, and a product file calls it"; bad = 1 }
                else if (!(name in place)) { print seam[name] ": " name " is marked Tests only, and nothing defines it"; bad = 1 }
                else count++
            printf "%d functions for tests only\n", count
            exit bad
        }'
}

# Each header compiles alone, with every compiler that is here.
lint_headers() {
    local bad=0 header compiler target warnings
    warnings=$(make -s warnings) || return 1
    target=$(cc -dumpmachine | cut -d- -f1)
    for compiler in gcc clang; do
        command -v "$compiler" >/dev/null || { echo "note: no $compiler here"; continue; }
        while read -r header; do
            case $header:$target in
            kernels/x86/*:x86_64) isa='-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512bf16 -mfma -mf16c' ;;
            kernels/x86/* | kernels/cuda/* | kernels/metal/*) continue ;;
            kernels/arm/*:aarch64 | kernels/arm/*:arm64) isa= ;;
            kernels/arm/*) continue ;;
            *) isa= ;;
            esac
            # Through a file that includes it: a header as the main file warns about its own #pragma once.
            # shellcheck disable=SC2086
            echo "#include \"$header\"" | "$compiler" -std=c11 -D_GNU_SOURCE $warnings -Werror \
                $isa -I. ${CFLAGS-} -x c -fsyntax-only - || { echo "$header:1: does not compile alone ($compiler)"; bad=1; }
        done < <(sources h)
    done
    return $bad
}

# clang-format 14 decides: other versions differ in details.
lint_format() {
    local version
    version=$(clang-format --version 2>/dev/null | sed -n 's/.*version \([0-9]*\).*/\1/p')
    if [ "$version" != 14 ]; then
        echo "skipped: needs clang-format 14, found ${version:-none}"
        return 77
    fi
    sources c h | xargs clang-format --dry-run -Werror 2>&1 | grep -oE '^[^ ]+:[0-9]+:.*formatted' | sort -u -t: -k1,2
    [ "${PIPESTATUS[1]}" -eq 0 ]
}

# Files to 800 lines; functions to 60, in kernels and backends (a transformer block) to 120.
lint_sizes() {
    sources c h cu cuh | xargs awk '
        function over(limit, what, size, line) {
            printf "%s:%d: %s has %d lines, at most %d\n", FILENAME, line, what, size, limit
            bad = 1
        }
        FNR == 1 { if (last) check(); last = FILENAME; inside = 0 }
        function check() { if (lines > 800) { printf "%s: %d lines, at most 800\n", last, lines; bad = 1 } }
        { lines = FNR }
        # clang-format puts the braces of a function, and of little else, alone in the first column.
        /^\{/ { if (previous ~ /\)$/ || previous ~ /^ .*\)$/) { inside = FNR; name = header } }
        /^[a-z_].*\(/ { header = $0; sub(/__launch_bounds__\([^)]*\) /, "", header); sub(/\(.*/, "", header); sub(/.*[ *]/, "", header) }
        /^\}/ && inside {
            size = FNR - inside - 1
            sizes[++count] = size
            limit = FILENAME ~ /^(kernels|engine\/(cpu|cuda|metal))\// ? 120 : 60
            if (size > limit) over(limit, name, size, inside)
            inside = 0
        }
        { previous = $0 }
        END {
            check()
            for (i = 1; i <= count; i++) histogram[sizes[i]]++
            for (size = 0; 2 * seen < count; size++) seen += histogram[size]
            printf "%d functions, median %d lines\n", count, size - 1
            exit bad
        }'
}

# First lines, exits, environment variables, system #ifdefs.
lint_habits() {
    sources c h cu cuh | xargs awk '
        function deny(why) { printf "%s:%d: %s\n", FILENAME, FNR, why; bad = 1 }
        FNR == 1 {
            name = FILENAME; sub(/.*\//, "", name)
            if (index($0, "// " name " - ") != 1) deny("the first line is not \"// " name " - purpose.\"")
        }
        { code = $0; sub(/\/\/.*/, "", code); gsub(/"([^"\\]|\\.)*"/, "\"\"", code) }
        code ~ /(^|[^a-z_])abort\(/ && FILENAME !~ /^tests\// { deny("abort: return a status") }
        code ~ /(^|[^a-z_])exit\(/ && FILENAME !~ /^(bench\/cli\/main\.c|tests\/)/ { deny("exit: only main.c may") }
        code ~ /(^|[^a-z_])getenv\(/ && FILENAME !~ /^(base\/(home|plain)\.c|bench\/cli\/|bench\/suite\/|tests\/)/ {
            deny("getenv: settings come from the option table") }
        code ~ /# *(if|ifdef|elif).*(__linux__|__APPLE__)/ && FILENAME !~ /^(base\/os_|device\/isa|bench\/probe\/|tests\/)/ {
            deny("the system belongs behind base/os.h") }
        code ~ /DEVICE_(CUDA|METAL)/ && FILENAME ~ /^(bench|report|results)\// {
            deny("a kind of device: ask the device or its backend, so that the next kind needs no line here") }
        /^#if 0/ { deny("#if 0: delete it") }
        END { exit bad }'
}

# Comments and pages: sentences of at most 30 words, lines of at most 120 columns, no words that read as translated.
# A sentence ends at a full stop, and at a line that begins an item: a dash, a number, "name:", a larger indentation or
# the formula of a header's list. Pages in docs/measured/ keep their long lines of figures, but not long sentences.
# Of scripts and settings, the lines that are comments are read, and the docstrings of Python.
prose_scripts() {
    sources sh py conf | grep -v '^tests/fuzz/'
    for f in tools/gpu-check tools/mutate; do [ -e "$f" ] && echo "$f"; done
}
lint_prose() {
    { sources c h cu cuh def md | grep -v '^tests/golden/'; prose_scripts; } | xargs awk -v most=30 '
        function deny(line, why) { printf "%s:%d: %s\n", file, line, why; bad = 1 }
        function words_of(text,   part, n, i, count) {
            n = split(text, part, /[ \t]+/)
            for (i = 1; i <= n; i++) if (part[i] ~ /[A-Za-z0-9]/) count++
            return count + 0
        }
        # Ends the paragraph: counts the words of each of its sentences.
        function flush(   sentence, n, i, size) {
            if (text == "") return
            gsub(/[.!?][\047")*]*[ ]+/, "&\n", text)
            n = split(text, sentence, "\n")
            for (i = 1; i <= n; i++)
                if ((size = words_of(sentence[i])) > most)
                    deny(start, "a sentence of " size " words, at most " most ": " substr(sentence[i], 1, 50) "...")
            text = ""
        }
        function append(line) {
            if (text == "") { start = FNR; file = FILENAME }
            text = text " " line
        }
        function check_words(line) {
            file = FILENAME
            line = tolower(line)
            if (match(line, "(^|[^a-z_])(" translated ")([^a-z_]|$)"))
                deny(FNR, "\"" substr(line, RSTART, RLENGTH) "\" reads as translated")
        }
        BEGIN {
            translated = "is told|are told|only told|goes on|beside|whoever|as it likes|anew|of ours|in words|taken off" \
                "|(hold|holds|held) ([a-z]+ )*against|(has|have|with|for|of|the first|takes|than) so (many|long)" \
                "|so many (more|tokens|windows|steps|calls|times)|(a|each|every|any|last|all|two|the) looks?( at| after)?" \
                "|the [a-z]+ before(, [a-tv-z]|[.;])|one " noun() " an? [a-z]+"
        }
        function noun() { return "(row|file|scale|group|write|line|token|divisor|card|query|question|folder|trace|subscriber)" }
        FNR == 1 {
            flush(); inside = 0; fenced = 0
            page = FILENAME ~ /\.md$/
            mark = FILENAME ~ /\.(c|h|cu|cuh|def|md)$/ ? "" : FILENAME ~ /\.conf$/ ? "[;#]" : "#"
            quoted = other = 0
        }
        mark != "" {
            line = $0
            n = gsub(/"""/, "&", line)
            if (other) { other = n % 2 == 0; next } # a string of several lines
            if (!quoted && n % 2 && line !~ /^ *"""/) { other = 1; flush(); next }
            if (quoted || line ~ /^ *"""/) {
                if (!quoted) sub(/^ *"""/, "", line)
                quoted = !(line ~ /"""/)
                sub(/""".*/, "", line)
            } else if (line ~ "^ *" mark "+( |$)") sub("^ *" mark "+ ?", "", line)
            else { flush(); next }
            if (length($0) > 120) { file = FILENAME; deny(FNR, length($0) " columns, at most 120") }
            check_words(line)
            if (line ~ /^ *$/ || line ~ /^( *- |  |[A-Za-z0-9_*,.()\[\]`+=|\/ -]+[:=] )/) flush()
            if (line !~ /^ *$/) append(line)
            next
        }
        page {
            if (/^```/) { fenced = !fenced; flush(); next }
            if (fenced || /^    /) { flush(); next }
            check_words($0)
            if (/^ *\|/) {
                flush()
                n = split($0, cell, /\|/)
                for (i = 1; i <= n; i++) { append(cell[i]); flush() }
                next
            }
            line = $0
            if (line ~ /^[ ]*$/ || line ~ /^#/ || line ~ /^[ ]*([-*]|[0-9]+\.) /) flush()
            sub(/^[ ]*([-*]|[0-9]+\.) /, "", line)
            if (line !~ /^#/ && line !~ /^[ ]*$/) append(line)
            next
        }
        FILENAME !~ /\.def$/ && length($0) > 120 { file = FILENAME; deny(FNR, length($0) " columns, at most 120") }
        {
            line = $0
            gsub(/"([^"\\]|\\.)*"/, "\"\"", line)
            if (inside) {
                begun = 1
                sub(/^ *\*? ?/, "", line)
                if (line ~ /\*\//) { inside = 0; sub(/ *\*\/.*/, "", line) }
            } else if (line ~ /^ *\/\*/) {
                flush()
                inside = line !~ /\*\//
                sub(/^ *\/\* ?/, "", line); sub(/ *\*\/.*/, "", line)
                begun = 0
            } else if (line ~ /^ *\/\//) {
                sub(/^ *\/\/ ?/, "", line)
            } else {
                flush()
                if (line !~ /\/\//) next
                sub(/^.*\/\/ ?/, "", line)
            }
            if (line ~ /^---- .*----+ +[^ ]/) { file = FILENAME; deny(FNR, "a section rule ends its line") }
            check_words(line)
            if (line ~ /^ *$/ || line ~ /^( *- |  |[A-Za-z0-9_*,.()\[\]`+=|\/ ]+[:=] )/) flush()
            if (line !~ /^ *$/) append(line)
        }
        END { flush(); exit bad }'
}

rules=("$@")
[ $# -gt 0 ] || rules=(layers circles names seams headers format sizes habits prose)
for rule in "${rules[@]}"; do
    echo "lint $rule"
    "lint_$rule"
    case $? in
    0) passed=$((passed + 1)) ;;
    77) skipped=$((skipped + 1)) ;;
    *) failed=$((failed + 1)) && echo "lint $rule: FAILED" ;;
    esac
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
