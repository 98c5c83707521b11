"""What passes between the stages: plain, frozen values, most of them files with a schema.

manifest     which images there are                      images.parquet
split        what each image is for                      split/
training     what a method sees and returns, in memory
predictions  what a run says of each image               predictions.parquet
scores       how good that is                            scores.json
provenance   what a result rests on, nested in the files

``rows`` is what they share: tables of ten million rows, without a Python object a row. A row costs
some 400 bytes of memory where a manifest is scanned or split, 200 where it is scored.
"""
