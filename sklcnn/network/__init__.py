"""Networks: convolution blocks and head, backbones, losses, penalties."""
