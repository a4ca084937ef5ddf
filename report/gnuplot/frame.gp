# frame.gp - places the frame and the legend: PLOT units of frame, and below it ENTRIES lines of legend, in two
# columns if the LONGEST is short enough.
#
# Places are fixed, so that the legend never changes the frame's size, and roofline.c can compute the slope of a line
# on paper.
frame_top = 14.0
legend_gap = 62 # tick labels and the axis' name
columns = LONGEST > 17 ? 1 : 2
ROWS = (ENTRIES + columns - 1) / columns
HEIGHT = int(frame_top + PLOT + legend_gap + 21 * ROWS + 6)
set tmargin at screen 1 - frame_top / HEIGHT
set bmargin at screen 1 - (frame_top + PLOT) / HEIGHT
set lmargin at screen 0.165
set rmargin at screen 0.975
set xlabel offset 0,0.4
set key at screen 0.55, screen 1 - (frame_top + PLOT + legend_gap) / HEIGHT center top horizontal Left reverse samplen 2 spacing 1.15 width 1 maxcols columns noenhanced
