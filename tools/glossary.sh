#!/bin/sh
# glossary.sh - writes glossary.h, the entries of docs/GLOSSARY.md as HTML, for the report's page.
#
# glossary.sh FILE; the file is touched only when its text changes. An entry is a heading "### TERM" and the
# text below it, in one or more lines. Code, and links to other entries or to a page of docs/, are converted.
# An entry without text, a term given twice and a link to no entry are errors.
set -u
out=$1
text=$(awk '
    function quote(s) { gsub(/\\/, "\\\\", s); gsub(/"/, "\\\"", s); return "\"" s "\"" }
    function escape(s) { gsub(/&/, "\\&amp;", s); gsub(/</, "\\&lt;", s); gsub(/>/, "\\&gt;", s); return s }
    # The anchor that GitHub gives a heading.
    function anchor(s) { s = tolower(s); gsub(/[^a-z0-9_ -]/, "", s); gsub(/ /, "-", s); return s }
    function convert(s, from,   done, label, to) {
        s = escape(s)
        while (match(s, /\[[^]]*\]\([^)]*\)/)) {
            done = done substr(s, 1, RSTART - 1)
            label = substr(s, RSTART + 1, RLENGTH - 2)
            s = substr(s, RSTART + RLENGTH)
            to = label
            sub(/\].*/, "", label); sub(/.*\]\(/, "", to)
            if (to ~ /^#/) { linked[substr(to, 2)] = from; done = done "<a href=\"#term-" substr(to, 2) "\">" label "</a>" }
            else done = done "docs/" label
        }
        s = done s
        while (match(s, /`[^`]*`/))
            s = substr(s, 1, RSTART - 1) "<code>" substr(s, RSTART + 1, RLENGTH - 2) "</code>" substr(s, RSTART + RLENGTH)
        return s
    }
    function fail(why) { print "docs/GLOSSARY.md:" FNR ": " why >"/dev/stderr"; bad = 1 }
    /^### / { term[++count] = substr($0, 5); if (id[anchor(term[count])]++) fail("\"" term[count] "\" is given twice"); next }
    count && NF { body[count] = body[count] (body[count] == "" ? "" : " ") $0 }
    END {
        print "// glossary.h - written by tools/glossary.sh from docs/GLOSSARY.md."
        print "static const struct {\n    const char *id, *term, *meaning;\n} entries[] = {"
        for (i = 1; i <= count; i++) {
            if (body[i] == "") fail("\"" term[i] "\" has no text")
            print "    {" quote(anchor(term[i])) ", " quote(escape(term[i])) ", " quote(convert(body[i], term[i])) "},"
        }
        for (to in linked) if (!(to in id)) fail("\"" linked[to] "\" links to no entry: #" to)
        print "};"
        exit bad
    }
' "$(dirname "$0")/../docs/GLOSSARY.md") || exit 1
[ "$text" = "$(cat "$out" 2>/dev/null)" ] || printf '%s\n' "$text" >"$out"
