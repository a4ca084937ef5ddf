# lines.gp - a quantity over batch or context, one line a series, with the interval of each median.
#
# gnuplot -c lines.gp NAME SERIES XLABEL YLABEL LOGY YMIN YMAX LONGEST
# NAME.dat: one block a series, blocks two empty lines apart; the first row is the series' label, the
# others x, median, low, high, separated by tabs.
home = ARG0[1:strlen(ARG0) - strlen("lines.gp")]
load home."common.gp"
NAME = ARG1
series = int(ARG2)
PLOT = 250
ENTRIES = series
LONGEST = int(ARG8)
load home."frame.gp"
set xlabel ARG3
set ylabel ARG4
set logscale x 2
set autoscale xfix # else a point left of the first tick adds a whole octave
set offsets graph 0.05, graph 0.05, 0, 0
if (int(ARG5)) {
    set logscale y 10
    set mytics 10
}
set yrange [ARG6+0:ARG7+0]
set format y (ARG7 >= 10000 ? "%.0s%c" : "%g")
# Series are drawn a little apart, so that the intervals of equal x do not cover each other. The ticks keep the true x.
dodge(i) = 2 ** (0.06 * (i - (series - 1) / 2.0))
DRAW = "plot for [i=0:series-1] NAME.'.dat' index i using ($1*dodge(i)):2:3:4 with yerrorlines linewidth 1.8 linecolor rgb color(i) pointtype shape(i) pointsize 0.9 title columnheader(1), for [i=0:series-1] NAME.'.dat' index i using 1:2:xtic(1) every ::1 with lines linetype nodraw notitle"
load home."write.gp"
