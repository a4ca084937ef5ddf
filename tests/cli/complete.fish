# complete.fish - prints what fish offers for unfinished command lines: a candidate per line, and "%" after each line.
#
# fish --no-config complete.fish SCRIPT "bench run --" ...
source $argv[1]
for line in $argv[2..-1]
    complete -C $line | string replace -r '\t.*' ''
    echo %
end
