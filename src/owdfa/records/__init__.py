"""What passes between the stages: plain, frozen values, most of them files with a schema.

manifest     which images there are                      images.parquet
split        what each image is for                      split/
training     what a method sees and returns, in memory
predictions  what a run says of each image               predictions.parquet
scores       how good that is, and what it rests on      scores.json
"""
