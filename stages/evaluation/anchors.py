"""Published GLUE scores, as a scale for a reader, and why none of ours is held against them."""

# GLUE's score on its test server. Source: Turc et al. 2019 and the table in google-research/bert
# (tiny to medium); Devlin et al. 2019, table 1 (base and large, without WNLI).
GLUE_TEST_SCORES = {
    "BERT-tiny": 64.2,
    "BERT-mini": 65.8,
    "BERT-small": 71.2,
    "BERT-medium": 73.5,
    "BERT-base": 79.6,
    "BERT-large": 82.1,
}
NOT_COMPARABLE = (
    "Averages that GLUE's test server gave to models trained on Wikipedia and books. They are on "
    "hidden test sets; every score of this page is on a development set, some of them subsets. The "
    "two are not comparable: these numbers only say what sizes of BERT reach."
)
