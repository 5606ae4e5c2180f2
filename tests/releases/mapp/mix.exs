Code.require_file("relup.exs", __DIR__)

defmodule Mapp.MixProject do
  use Mix.Project

  def project do
    [
      app: :mapp,
      version: System.get_env("VSN", "1.0.0"),
      elixir: "~> 1.14",
      start_permanent: true,
      deps: for(path <- Path.wildcard("apps/*"), do: {String.to_atom(Path.basename(path)), path: path}),
      releases: [
        {String.to_atom(System.get_env("RELEASE", "mapp")),
         include_erts: true, include_executables_for: [:unix], strip_beams: true, steps: Relup.steps()}
      ]
    ]
  end

  def application do
    [mod: {Mapp.Application, []}, extra_applications: [:logger, :sasl]]
  end
end
