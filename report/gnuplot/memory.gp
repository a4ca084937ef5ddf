# memory.gp - what the memory of a cell is made of, as stacked bars, and the peak that was measured.
#
# gnuplot -c memory.gp NAME BARS UNIT PEAKS
# NAME.dat: label, weights, KV cache, scratch, peak ("?": not measured), all in UNIT, top bar first.
# PEAKS: 0 where no bar has a peak, so that the legend does not name it.
home = ARG0[1:strlen(ARG0) - strlen("memory.gp")]
load home."common.gp"
NAME = ARG1
bars = int(ARG2)
peaks = int(ARG4)
PLOT = 20 + 48 * bars # a line for the label, and below it the bar
ENTRIES = 3 + peaks
LONGEST = 99 # one column
load home."frame.gp"
set lmargin at screen 0.04
set xlabel ARG3
set xrange [0:*]
set yrange [bars-0.5:-0.6]
set offsets 0, graph 0.03, 0, 0
unset ytics
unset grid
set grid xtics
set style fill solid 0.9 noborder
DRAW = "plot NAME.'.dat' using (0):0:(0):2:($0-0.05):($0+0.35) with boxxyerror linecolor rgb color(0) title 'weights', '' using 2:0:2:($2+$3):($0-0.05):($0+0.35) with boxxyerror linecolor rgb color(4) title 'KV cache', '' using 2:0:($2+$3):($2+$3+$4):($0-0.05):($0+0.35) with boxxyerror linecolor rgb color(3) title 'scratch'"
DRAW = DRAW.", '' using (0):($0-0.28):1 with labels left offset 0.4,0 textcolor rgb '#606060' notitle"
if (peaks) {
    DRAW = DRAW.", '' using 5:0:5:5:($0-0.12):($0+0.42) with xyerrorbars linewidth 2 pointtype 0 linecolor rgb 'black' title 'measured peak'"
}
load home."write.gp"
