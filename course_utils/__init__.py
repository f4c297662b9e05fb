"""Helpers of the course: data, metrics, models, training, plots.

Importing the package does not import TensorFlow. It does set two environment variables that TensorFlow
reads when it is imported later, so that a notebook's first cell stays free of start-up messages. This is
why every notebook imports ``course_utils`` before ``keras``.
"""

import os

# 3 = errors only. Without it TensorFlow reports CPU features on stderr at every start.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# oneDNN adds floating point numbers in another order, which changes the last digits; it also announces itself.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

__version__ = "1.0.0"
