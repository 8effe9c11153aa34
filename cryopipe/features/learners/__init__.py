"""The learners, one module each; `cryopipe.features.register` names them."""
