"""Arguments that people bring to SciPy's idiom from elsewhere, and what takes their place."""

from geodescent.doors import Answers, Door

TO_ONE: Answers = (
    (
        ("maxfev", "max_iter", "maxiter", "max_steps", "steps", "epochs", "iterations"),
        "max_nfev",
        "max_nfev= bounds the calls of the function.",
    ),
    (("tol", "rtol", "atol", "target_cost"), "ftol", "a run goes on to rounding, and ftol= ends it earlier."),
    (("timeout", "time_limit", "max_time"), "max_seconds", "the bound of the time is max_seconds=."),
    (
        ("weights", "weight", "sample_weight", "w", "yerr", "dy"),
        "sigma",
        "the standard deviations of the data are sigma=, for weights that multiply residuals sigma=1 / weights.",
    ),
    (("scale_covar",), "absolute_sigma", "absolute_sigma=True leaves the covariance as sigma says, without scaling."),
    (("Dfun", "fprime", "jacobian", "gradient", "grad"), "jac", "the derivative by the parameters is jac=."),
    (("epsfcn", "eps", "epsilon"), "diff_step", "the relative step of differences is diff_step=."),
    (("diag", "factor", "scale"), "x_scale", "the sizes of the parameters are x_scale=."),
    (("lower", "upper", "lb", "ub", "limits", "bound"), "bounds", "bounds are passed as bounds=(lower, upper)."),
    (("x", "X"), "xdata", "where the data were taken is the second argument, xdata."),
    (("y", "Y", "data"), "ydata", "the data are the third argument, ydata."),
    (("x0", "params", "guess", "init", "start"), "p0", "the start is p0=."),
    (("p0", "params", "guess", "init", "start"), "x0", "the start is the second argument, x0."),
    (("fun", "func", "function", "model"), "f", "the formula is the first argument, f."),
    (("f", "func", "function", "model", "residuals"), "fun", "the residuals are the first argument, fun."),
    (("fcn_args", "fargs"), "args", "what else the function takes is args=."),
    (
        ("callback", "iter_cb"),
        None,
        "max_nfev=, max_seconds= and ftol= end a run early. Leave it out; to see each step, pass callback=print to "
        "gd.fit, over a gd.Problem of a gd.FunctionMap.",
    ),
    (
        ("lr", "learning_rate", "damping", "momentum", "optimizer"),
        None,
        "the length of each step follows from the problem. Leave it out.",
    ),
)
"""To those who fit a formula once."""

TO_MANY: Answers = (
    (
        (
            "loss",
            "f_scale",
            "jac",
            "diff_step",
            "x_scale",
            "ftol",
            "xtol",
            "gtol",
            "method",
            "nan_policy",
            "check_finite",
        ),
        None,
        "many data sets are fitted without it. Leave it out; gd.curve_fit fits one data set with loss=, jac=, "
        "x_scale=, ftol= and nan_policy=.",
    ),
    (
        ("max_seconds", "full_output", "args", "kwargs", "verbose", "workers"),
        None,
        "all data sets are fitted in one call, and max_nfev= bounds it. Leave it out.",
    ),
    *TO_ONE,
)
"""To those who fit many data sets."""


once = Door(TO_ONE)
many = Door(TO_MANY)
