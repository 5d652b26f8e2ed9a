"""The private half of the estimators: from hyper-parameters and data to what a fit leaves behind."""
