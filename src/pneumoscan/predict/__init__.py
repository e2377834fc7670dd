"""Many films. Each of the others is an option of `pneumoscan predict`.

sources.py      lists the films
batch.py        reads them in order, with several threads
pictures.py     a folder of pictures: outlines and masks of lungs
sheet.py        heatmaps
document.py     a PDF of each film
raw_outputs.py  features and maps as arrays
prevalence.py   what the rates of the model mean at a prevalence
"""
