defmodule Mapp.Application do
  use Application

  @impl true
  def start(_type, _args) do
    with :ok <- :demo.boot(:mapp), do: Mapp.Supervisor.start_link()
  end

  def ready, do: :demo.ready()
end
