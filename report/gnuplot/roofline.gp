# roofline.gp - the measured ceilings as lines, the measured phases as points (Williams 2009).
#
# gnuplot -c roofline.gp NAME SERIES CEILINGS XMIN XMAX YMIN YMAX LONGEST
# NAME.ceilings: one block a ceiling: two points of its line. NAME.slanted and NAME.flat: x, y, angle,
# label of each. NAME.dat: two blocks a series, prefill then decode: the label, then intensity, FLOP/s.
# NAME.labels: x, y, text of the points that are named.
home = ARG0[1:strlen(ARG0) - strlen("roofline.gp")]
load home."common.gp"
NAME = ARG1
series = int(ARG2)
ceilings = int(ARG3)
PLOT = 320
ENTRIES = series + 2
LONGEST = int(ARG8)
load home."frame.gp"
set xlabel "arithmetic intensity, FLOP per byte"
set ylabel "FLOP/s"
set logscale xy 10
set mxtics 10
set mytics 10
set format x "%g"
set format y "%.0s%c"
set xrange [ARG4+0:ARG5+0]
set yrange [ARG6+0:ARG7+0]
# Decode is a full circle, prefill a full triangle; a series keeps one colour for both.
ceiling_lines = "for [i=0:ceilings-1] NAME.'.ceilings' index i using 1:2 with lines linewidth 1.4 linecolor rgb '#808080' notitle"
prefill = "for [j=0:series-1] NAME.'.dat' index 2*j using 1:2 every ::1 with points linecolor rgb color(j) pointtype 9 pointsize 1.1 notitle"
decode = "for [j=0:series-1] NAME.'.dat' index 2*j+1 using 1:2 with points linecolor rgb color(j) pointtype 7 pointsize 0.9 title columnheader(1)"
phases = "NaN with points pointtype 9 pointsize 1.1 linecolor rgb '#808080' title 'prefill', NaN with points pointtype 7 pointsize 0.9 linecolor rgb '#808080' title 'decode'"
names = "NAME.'.slanted' using 1:2:4:3 with labels left rotate variable font ',13' textcolor rgb '#606060' notitle, NAME.'.flat' using 1:2:4 with labels right font ',13' textcolor rgb '#606060' notitle, NAME.'.labels' using 1:2:3 with labels left offset 0.8,-0.5 font ',12' notitle"
DRAW = "plot ".ceiling_lines.", ".names.", ".prefill.", ".decode.", ".phases
load home."write.gp"
