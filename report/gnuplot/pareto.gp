# pareto.gp - a cost of each scheme against its perplexity, and the front of those that nothing beats.
#
# gnuplot -c pareto.gp NAME XLABEL XMAX YMIN YMAX
# NAME.dat: two blocks, two empty lines apart: the points of the front by x, then the others; in each row
# label, x, perplexity ("?": the block is empty), and 1 or -1 for a name above or below, separated by tabs.
home = ARG0[1:strlen(ARG0) - strlen("pareto.gp")]
load home."common.gp"
NAME = ARG1
PLOT = 280
ENTRIES = 2
LONGEST = 15
load home."frame.gp"
set rmargin at screen 0.955
set xlabel ARG2
set ylabel "perplexity"
set xrange [0:ARG3+0]
set yrange [ARG4+0:ARG5+0]
set format y "%.5g"
front = "NAME.'.dat' index 0 using 2:3 with linespoints linewidth 1.8 dashtype 2 linecolor rgb color(0) pointtype 7 pointsize 1.1 title 'Pareto front'"
others = "NAME.'.dat' index 1 using 2:3 with points linecolor rgb color(1) pointtype 6 pointsize 1.1 title 'beaten by another'"
names(side, place) = "for [i=0:1] NAME.'.dat' index i using 2:($4*".side." > 0 ? $3 : 1/0):1 ".\
    "with labels ".place." font ',13' notitle"
DRAW = "plot ".front.", ".others.", ".names("1", "left offset 0.8,0.5").", ".names("-1", "center offset 0,-0.9")
load home."write.gp"
