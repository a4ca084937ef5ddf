# common.gp - what all pictures share: colours, fonts, frame, and how a picture is written.
#
# Colours: Okabe and Ito's set, distinct for all common kinds of colour blindness; points differ in
# shape as well. page.css knows these colours by their numbers and changes them in the dark.
set encoding utf8
set datafile separator tab
set datafile missing "?"
set datafile commentschars "" # a label may begin with #

colors = "#0072B2 #D55E00 #009E73 #CC79A7 #E69F00 #56B4E9 #8A6D00 #6A5ACD"
shapes = "7 5 9 13 11 6 4 8"
color(i) = word(colors, i % 8 + 1)
shape(i) = int(word(shapes, i % 8 + 1))

set border 3 linewidth 1 linecolor rgb "#808080"
set tics nomirror out scale 0.5 textcolor rgb "#606060"
set grid linecolor rgb "#c8c8c8" linewidth 0.6 dashtype solid
set errorbars small

# A script draws by defining NAME, PLOT (height of the frame), ENTRIES and LONGEST (lines of the legend,
# letters of its longest), loading frame.gp, defining DRAW, and loading write.gp.
