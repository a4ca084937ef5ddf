# roofline.gp - the measured ceilings as lines, the measured phases as points (Williams 2009).
#
# gnuplot -c roofline.gp NAME SERIES CEILINGS XMIN XMAX YMIN YMAX
# NAME.ceilings: one block a ceiling: two points of its line. NAME.names: x, y, angle, label.
# NAME.dat: two blocks a series, prefill then decode: the label, then intensity, FLOP/s.
# NAME.labels: x, y, text of the points that are named.
home = ARG0[1:strlen(ARG0) - strlen("roofline.gp")]
load home."common.gp"
NAME = ARG1
series = int(ARG2)
ceilings = int(ARG3)
rows = (series * 2 + 1) / 2
HEIGHT = 360 + 20 * rows
set xlabel "arithmetic intensity, FLOP per byte"
set ylabel "FLOP/s"
set logscale xy 10
set format x "10^{%T}"
set format x "%g"
set format y "%.0s%c"
set xrange [ARG4+0:ARG5+0]
set yrange [ARG6+0:ARG7+0]
set lmargin 9
set rmargin 2
phase(j) = j % 2 == 0 ? 9 : 7
small(j) = j % 2 == 0 ? 1.1 : 0.9
# Decode is a full circle, prefill a full triangle; a series keeps one colour for both.
DRAW = "plot for [i=0:ceilings-1] NAME.'.ceilings' index i using 1:2 with lines linewidth 1.4 linecolor rgb '#808080' notitle, for [j=0:2*series-1] NAME.'.dat' index j using 1:2 with points linecolor rgb color(j/2) pointtype phase(j) pointsize small(j) title columnheader(1), NAME.'.names' using 1:2:4:3 with labels left rotate variable textcolor rgb '#606060' notitle, NAME.'.labels' using 1:2:3 with labels left offset 0.8,0 notitle"
load home."write.gp"
