# write.gp - runs DRAW for every form a picture is kept in: NAME.svg for pages, NAME.png for the rest.
#
# HEIGHT is in the units of a picture 560 wide. Text is never interpreted (noenhanced): it may be
# anybody's.
set terminal svg size 560,HEIGHT dynamic noenhanced font "sans-serif,15" linewidth 1
set key font ",13"
set output NAME.".svg"
@DRAW
if (strstrt(GPVAL_TERMINALS, "pngcairo") > 0) {
    set terminal pngcairo size 1120,2*HEIGHT noenhanced font "sans-serif,11" fontscale 1.9 linewidth 2 pointscale 2
} else {
    set terminal png size 1120,2*HEIGHT noenhanced
}
set key font ",9.5"
set output NAME.".png"
@DRAW
set output
